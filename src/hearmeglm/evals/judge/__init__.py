"""An LLM as judge: rubric, client, verdicts, agreement, pairwise comparison, controls, and the human sheet."""
