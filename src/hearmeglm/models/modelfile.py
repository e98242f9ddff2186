"""Our chat template in Ollama's terms: a Modelfile with a Go template and stop texts.

https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from .template import CONTENT, Template


def modelfile(gguf_name: str, template: Template, tokenizer: PreTrainedTokenizerBase, system: str = "") -> str:
    """Text of a Modelfile beside a GGUF file.

    Args:
        gguf_name: the file's name; both lie in one folder.
        system: a system prompt to build in.
    """
    stops = dict.fromkeys((*template.stop, *template.stop_strings))
    lines = [f"FROM ./{gguf_name}", f'TEMPLATE """{go_template(template, tokenizer)}"""']
    lines += [f"PARAMETER stop {_quoted(s)}" for s in stops]
    if system:
        lines.append(f'SYSTEM """{system}"""')
    return "\n".join(lines) + "\n"


def go_template(template: Template, tokenizer: PreTrainedTokenizerBase) -> str:
    """The format as a Go template over Ollama's `.Messages`."""
    blank = _adds_blank(tokenizer)
    begin = "" if template.begin == tokenizer.bos_token else template.begin  # the engine writes bos itself
    fmt = template.assistant
    if template.system is None:
        start = '{{ $system := "" }}'
        system = "{{ $system = .Content }}"
        user = _fill(template.user, '{{ if $system }}{{ $system }}\n\n{{ end }}{{ $system = "" }}', template, blank)
    else:
        start = ""
        system = _fill(template.system, "", template, blank)
        user = _fill(template.user, "", template, blank)
    reply = fmt.prompt + _fill(fmt.reply, "", template, blank) + fmt.after
    return (
        f"{start}{begin}{{{{ range .Messages }}}}"
        f'{{{{ if eq .Role "system" }}}}{system}{{{{ else if eq .Role "user" }}}}{user}{{{{ else }}}}{reply}{{{{ end }}}}'
        f"{{{{ end }}}}{fmt.prompt}"
    )


def _fill(text: str, before: str, template: Template, blank: bool) -> str:
    """`text` with Ollama's content in place of ours."""
    head = text.partition(CONTENT)[0]
    inside = "{{ .Content }}"
    if blank and head and not head.endswith(template.special):
        # A tokenizer that puts a blank before each text does so once a stretch; ours encodes the content by itself.
        inside = "{{ if .Content }} {{ .Content }}{{ end }}"
    return text.replace(CONTENT, before + inside)


def _adds_blank(tokenizer: PreTrainedTokenizerBase) -> bool:
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[0]
    return bool(first.startswith("\u2581"))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
