"""The forms that judges write scores and verdicts in, and what looks like one and is none."""

import json

import pytest

from xwinjax.judge import parse
from xwinjax.judge.parse import CUT_OFF, NO_VERDICT, NOT_LAST, OUTSIDE, read_better, read_score


@pytest.mark.parametrize(
  "form",
  [
    "Score: {n}.0/5.0",
    "Score: {n}.0",
    "Score: {n} ({word})",
    "Score: {n}/5 ({word})",
    "- Score: {n}",
    "* **Score**: {n}",
    "• Score: {n}",
    "Score：{n}",
    "Score {n}",
    "Score is {n}",
    "The score is {n}.",
    "So my final score is: {n}/5.",
    "Score: [[{n}]]",
    "[[{n}]]",
    "Rating: [[{n}]]",
    "It is about the question, and short. Rating: [[{n}]]",
    "[RESULT] {n}",
    "[RESULT]: {n}",
    "Feedback: It is about the question. [RESULT] {n}",
    "Score: \\boxed{{{n}}}",
    "Score: **{n}**",
    "**{n}** points would be too few.\nScore: {n}",
    "__Score: {n}__",
    "### Score\n{n}",
    "**Score:**\n\n**{n}**",
    "Overall rating:\n{n}/5",
    "Score: {n} ⭐",
    "Score: {n} stars",
    "Score (0-5): {n}",
    "Score (out of 5): {n}",
    "Score: {n} out of 5 points",
    "Total points: {n}",
    "Final grade: {n}",
    "<score>{n}</score>",
    "<rating> {n} </rating>",
    "I give it a score of {n}.",
    "I would rate this answer {n}/5.",
    "Score: {n} - it is helpful",
    "Score: {n} — clear and short",
    "Score: {n}, as the main parts are there",
    "Score: {n}. The main parts are there.",
    "Score: {n} (the main parts are there)",
    "Score: {n} because the main parts are there",
    "Score -> {n}",
    "Final score → {n}/5",
    "Score – {n}",
    "Overall score - {n}/5",
    "Rating: ⟦{n}⟧",
    "It is about the question. ⟦{n}⟧",
    "[[{n}]]/5",
    "Rating: [[{n}]] out of 5",
    "Rating: [[{n}/5]]",
    "Score: {n} points out of 5",
    "Overall rating:\n{n} out of 5",
    "{n}/5",
    "**{n}/5**",
    "{n} out of 5.",
    "Score: {n}</s>",
    "Score: {n}\n</s>",
    "Score: {n}<|im_end|>",
    "Score: {n}\n---",
    '{{"score": {n}}}',
    '{{"score": "{n}/5"}}',
    '{{"reason": "Short, and \\"4\\" is named.", "Rating": {n}.0}}',
    '{{\n  "final_score": {n},\n  "reason": "short"\n}}',
  ],
)
@pytest.mark.parametrize("n", [0, 2, 5])
def test_every_form_that_a_person_reads_is_read(form, n):
  words = ("zero", "one", "two", "three", "four", "five")
  text = form.format(n=n, word=words[n])
  assert read_score(f"It is fine.\n\n{text}").score == n
  assert read_score(text).score == n
  assert read_score(f"{text}\n\nIt is fine.\n{text}").score in (n, None)
  # The same form on another scale, and the answer that holds it.
  assert read_score(text, 6, 9).score is None
  assert read_score(text, answer=text).score is None


def test_an_object_may_be_all_of_a_fence():
  assert read_score('```json\n{"score": 4}\n```').score == 4
  assert read_score('It ends in\n```json\n{"score": 4}\n```').score is None  # who says it?
  assert read_score('```\nIt ends in\n{"score": 4}').score is None


def test_a_score_on_the_first_line_needs_reasons_that_leave_it():
  assert read_score("Score: 4\n\nIt is clear. It answers the question.").score == 4
  assert read_score("4 points\nIt is clear.").score is None
  for more in ("It is 3 at best.", "Or three.", "Score: 3", "USER: And this one?", "Actually not."):
    assert read_score(f"Score: 4\n\nIt is clear.\n{more}").score is None


@pytest.mark.parametrize(
  "text",
  [
    "Score: 3-4",
    "Score: 3 - 4",
    "Score: 3–4",
    "Score: 3 to 4",
    "Score: 3 or 4",
    "Score: 3 / 4",
    "Score: 3 - or a bit less",
    "Score: 3 (or 4)",
    "Score: 3 (four)",
    "Score: 3.5 (three)",
    "Score: 3, 4",
    "Score: 3,5",
    "Score: 3 5",
    "Score: 3*1",
    "Score: 3 + 1",
    "Score: 3 - one for style",
    "Score: 3, minus a half",
    "Score: 3½",
    "Score: 3 1/2",
    "Score: 3.5.1",
    "Score: 3+",
    "Score: ~3",
    "Score: <3",
    "Score: >3",
    "Score: at least 3",
    "Score: 3%",
    "Score: 60%",
    "Score: 3e0",
    "Score: 3,000",
    "Score: 3000",
    "Score: 0x3",
    "Score: -3",
    "Score: 3/10",
    "Score: 3 out of 10",
    "Score (0-10): 3",
    "Score: 3/5/5",
    "Score => 3",
    "Score -> 3 or 4",
    "Score -> three",
    "Score -> ",
    "Score – 3–4",
    "Score - 3, as it asks for",
    "Deduction for length.\nScore - 3",  # or minus three
    "Score: 3 points out of 10",
    "[[3]]/10",
    "[[3]]/5 or [[4]]/5",
    "⟦3⟧ or ⟦4⟧",
    "⟦3",
    "3/5 or 4/5",
    "3/5/5",
    "3/5 kg",
    "> 3/5",
    "Style: 4/5.\n3/5",
    "Style\n3/5",
    "Style:\n3/5",
    "It was right on\n3/5",
    "The right answer is 4/5.\n\n4/5",
    "Score: 4\n\nIt is fine.\n3/5",
    "Score: 3, not 4",
    "Score: 3? Maybe.",
    "Score: 3, wait, that is wrong",
    "Score: 3 if it were shorter",
    "Score: 3 unless it is wrong",
    "Score of this answer and 3 others",
    "Award 5 points if it is perfect.",
    "Award 5 points if the answer is perfect, 3 if it is good",
    "- 5: perfect\n- 3: good",
    "Score: 5 if perfect, 3 if good",
    "Points: 3",
    "Question 3",
    "The score 3 - too generous",
    "The score 3, as the user says, is fair",
    "A rating of 3, as it asks for, is flattery",
    "The rating of 3, as it asks for, is flattery",
    "Score: 3, which is too generous",
    "The score is 3, which is wrong",
    "Overall score 3 is what it asks for",
    "It has 3 parts.",
    "3.",
    "[3]",
    "[[3]] or [[4]]",
    "[[3]] is what the format asks for",
    "Rating: [[rating]]",
    "Rating: [[3",
    "Rating: [3]]",
    "Rating: [[3-4]]",
    "Its sources [1] and [[2]] and [[3]]",
    "[RESULT] 3 or 4",
    "[RESULT] 3\n[RESULT] 4",
    "[RESULT] (an integer between 1 and 5)",
    "<score>3</rating>",
    "<score>three</score>",
    "Score: \\boxed{3",
    "Score: \\boxed{3} or \\boxed{4}",
    "Score: 3\nScore: 4",
    "Score: 3\nRating: 4",
    "Score: 3\n[[4]]",
    'Score: 3\n{"score": 4}',
    '{"score": 3, "score": 4}',
    '{"score": 3, "rating": 4}',
    '{"score": true}',
    '{"score": null}',
    '{"score": NaN}',
    '{"score": [3]}',
    '{"score": "three"}',
    '{"score": "3-4"}',
    '{"score": 3',
    '{"max_score": 3}',
    '{"scores": {"style": 3}}',
    '"score": 3',
    "It says “Score: 3”.",
    "'[[3]]'",
    "> [[3]]",
    "`[RESULT] 3`",
    "I would give it 3 if it were shorter.",
    "I give it 3 or 4.",
    "I would not give this answer 3",
    "The user gives it a score of 3",
  ],
)
def test_nothing_is_made_up(text):
  assert read_score(text).score is None
  assert read_score(f"It is fine.\n{text}").score is None


@pytest.mark.parametrize(
  ("text", "verdict"),
  [
    ("Better: A", 1),
    ("Better: Answer B", -1),
    ("**Better:** tie", 0),
    ("- Better: B", -1),
    ("[[A]]", 1),
    ("[[B]]", -1),
    ("[[C]]", 0),
    ("A is shorter, so my final verdict is: [[A]]", 1),
    ("Final verdict: B", -1),
    ("Final Verdict: **B**", -1),
    ("My final verdict is tie.", 0),
    ("Verdict: [A]", 1),
    ("Winner: Assistant A", 1),
    ("The better answer is B.", -1),
    ("Answer A is better.", 1),
    ("Response B is the better", -1),
    ("Preference: A - it is shorter", 1),
    ("[RESULT] B", -1),
    ("### Verdict\nA", 1),
    ('{"verdict": "A"}', 1),
    ('{"reason": "shorter", "winner": "tie"}', 0),
    ("Better: A</s>", 1),
  ],
)
def test_every_form_of_a_verdict_is_read(text, verdict):
  assert read_better(text).score == verdict
  assert read_better(f"They differ.\n{text}").score == verdict


@pytest.mark.parametrize(
  "text",
  [
    "A",
    "Better: A or B",
    "Better: A/B",
    "Better: A, B",
    "Better: A - but B is longer",
    "Better: both",
    "Better: C",
    "Verdict: C",
    "Better: Alice",
    "Better: [A)",
    "A is better than B",
    "Is answer A better?",
    "Answer A is better than B in style",
    "Answer A is better, answer B is shorter",
    "[[A]] or [[B]]",
    "[[A]] if A is better, [[B]] if B is better",
    "[[D]]",
    "Better: A\nBetter: B",
    "Better: A\n[[B]]",
    '{"winner": "A", "verdict": "B"}',
    '{"winner": "A or B"}',
    '{"winner": true}',
    '"[[A]]"',
    "It says “Better: A”.",
  ],
)
def test_no_verdict_is_made_up(text):
  assert read_better(text).score is None
  assert read_better(f"They differ.\n{text}").score is None


def test_a_verdict_has_the_reasons_of_a_score():
  assert read_better("A is fine.").reason == NO_VERDICT
  assert read_better("Better: A", ended=False).reason == CUT_OFF
  assert read_better("Well.\nBetter: A\nI hope this helps.").reason == NOT_LAST


def test_mt_benchs_rating_is_read_on_its_scale():
  assert read_score("It is good. Rating: [[6]]", 1, 10).score == 6
  assert read_score("It is good. Rating: [[6]]").reason == OUTSIDE


def test_published_replies_are_read_as_a_person_does(shared):
  file = shared / "field" / "judge-replies" / "replies.jsonl"
  rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
  assert [read_score(r["text"]).score for r in rows] == [r["score"] for r in rows]


def test_twin_with_any_words_behind_it_a_range_becomes_a_score(monkeypatch):
  assert read_score("Score: 3 - 4").score is None
  monkeypatch.setattr(parse, "_harmless", lambda *_: True)
  assert read_score("Score: 3 - 4").score == 3


def test_twin_a_fraction_under_any_heading_becomes_a_score(monkeypatch):
  assert read_score("It is fine.\nStyle\n3/5").score is None
  monkeypatch.setattr(parse, "_alone", lambda lines, _: lines[-1])
  assert read_score("It is fine.\nStyle\n3/5").score == 3
