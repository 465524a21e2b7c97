"""What a run or a notebook asks of a fit and its frames: one file, one question.

Names are imported when they are first used: an experiment's file is read without PyTorch.
"""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.questions.asking import ask as ask
    from bayescg.questions.finding import Drawing as Drawing
    from bayescg.questions.finding import Finding as Finding
    from bayescg.questions.finding import Table as Table
    from bayescg.questions.question import Context as Context
    from bayescg.questions.question import Question as Question
    from bayescg.questions.reading_order import QUESTIONS as QUESTIONS
    from bayescg.questions.sections import Section as Section

__getattr__, __dir__ = lazily(__name__, __file__)
