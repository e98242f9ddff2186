"""HearMeGLM (和心者): turn an open language model into Jerry, a psychological-support counsellor."""

__version__ = "0.1.0"
