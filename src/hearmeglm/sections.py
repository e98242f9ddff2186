"""What every part of a recipe is (`Section`), and the part that only the report reads.

It stands apart from `recipe.py` because none of it changes a run: editing a sentence of the report trains nothing again.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Section):
    """One text in both languages; numbers in it must be the same in both."""

    zh: str = Field("", description="Chinese; empty: the packaged text.")
    en: str = Field("", description="English; empty: the packaged text.")


def _text(description: str) -> Text:
    return Field(default_factory=Text, description=description)


class Report(Section):
    """Cover and free texts of the report. What is left empty gets the packaged text, or a blank line on the cover."""

    student_id: str = Field("", description="Student id, first part of the file name `StudentID-Name.pdf`.")
    name: str = Field("", description="Student's name, second part of the file name.")
    class_name: str = Field("", description="Class.")
    instructor: str = Field("", description="Instructor.")
    grade: str = Field("", description="Grade; usually left for the instructor.")
    date: str = Field("", description="Date on the cover; empty: the day of the last finished step.")
    title: Text = _text("Title of the project.")
    direction: Text = _text("Why this direction.")
    value: Text = _text("What society gains.")
    needs: Text = _text("What the task asks for.")
    innovations: list[Text] = Field(default_factory=list, description="What is new; empty: the packaged list.")
    base_reason: Text = _text("Why this base model.")
    reasons: dict[str, Text] = Field(
        default_factory=dict,
        description="Why a hyperparameter has its value, by its name in the recipe (`learning_rate`, `rank` …).",
    )
    captures: str = Field(
        "captures",
        description="Folder of pictures of studio and terminal, inside the run: `terminal-setup.svg`, `studio-training.png` …",
    )
