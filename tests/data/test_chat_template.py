"""Templates as Jinja: ours give our tokens, a model's own is recognised, used or refused."""

import json

import pytest
import tokenizers_made as made

from xwinjax.core.errors import UserError
from xwinjax.data import chat_template, token_export
from xwinjax.data.own_template import own_template, recognise
from xwinjax.data.pieces import JsonPieces
from xwinjax.data.records import Message
from xwinjax.data.templates import TEMPLATES, Renderer, get_template
from xwinjax.data.tokenizer import Tokenizer

CODE = "def f(x):\n    if x:\n\treturn [i for i in x]\n"
LLAMA2 = (
  "{% for message in messages %}{% if message['role'] == 'user' %}"
  "{{ bos_token + '[INST] ' + message['content'] | trim + ' [/INST]' }}"
  "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}"
  "{% endif %}{% endfor %}"
)
TINYLLAMA = (
  "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + "
  "eos_token + '\n' }}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}"
  "{% endif %}{% endfor %}"
)


@pytest.fixture
def talks(chat):
  return [
    e.messages
    for e in (
      chat("Hi?", "Hello."),
      chat("Hi?", "Hello 👩\u200d👧!", "Why?", "So.", system="Be brief. 🙂"),
      chat(CODE, f"```\n{CODE}```", "中文 и русский", "Да — 好的。", "And?", "No."),
      chat("  two blanks  ", "    led by four", "\nnew line", "ends\n", system=CODE),
      chat("a", "", "b", "c"),
      chat("{{ x }} \"quoted\" 'n' \\ %}", "{% y %} {}"),
    )
  ]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, llama2_tokenizer):
  """A tokenizer of each kind that models are published with."""
  folder = tmp_path_factory.mktemp("kinds")
  token_export.save(llama2_tokenizer, folder / "llama2")
  folders = [make(folder / make.__name__) for make in (made.llama3, made.qwen2, made.blanks)]
  return [Tokenizer.load(f) for f in (folder / "llama2", *folders)]


def exported(folder):
  """What a program that knows only the exported folder cuts text with."""
  return JsonPieces(folder / "tokenizer.json", (folder / "tokenizer.json").read_bytes(), {}, ())


def ids_of_jinja(source, tokenizer, pieces, talk, open_answer):
  """What that program gives for a conversation."""
  text = chat_template.render(source, talk, tokenizer, open_answer=open_answer)
  return pieces.with_special(text)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_exported_jinja_gives_our_tokens(name, talks, tmp_path, kinds):
  for i, plain in enumerate(kinds):
    tokenizer = plain.with_special(TEMPLATES[name].specials())
    renderer = Renderer(get_template(name), tokenizer, "You help. 🙂" if i % 2 else "")
    source = chat_template.jinja_of(renderer.template, tokenizer, renderer.system)
    out = tmp_path / f"out{i}"
    assert token_export.save(tokenizer, out, chat_template=source) == []
    fields = json.loads((out / "tokenizer_config.json").read_text())
    assert fields["chat_template"] == (out / "chat_template.jinja").read_text() == source
    pieces = exported(out)
    for talk in talks:
      assert ids_of_jinja(source, tokenizer, pieces, talk, False) == renderer.encode(talk).ids
      prompt = talk[:-1]
      theirs = ids_of_jinja(source, tokenizer, pieces, prompt, True)
      assert theirs == renderer.encode_prompt(prompt)
      assert theirs + renderer.encode_answer(talk[-1].content) == renderer.encode(talk).ids


def test_twin_another_template_gives_others(talks, tmp_path, llama2_tokenizer):
  token_export.save(llama2_tokenizer, tmp_path)
  pieces = exported(tmp_path)
  renderer = Renderer(get_template("vicuna"), llama2_tokenizer)
  right = chat_template.jinja_of(renderer.template, llama2_tokenizer)
  for wrong in (right.replace("(' ' if content else '') ~ ", ""), right.replace("bos_token", "''")):
    assert wrong != right
    ids = ids_of_jinja(wrong, llama2_tokenizer, pieces, talks[0], False)
    assert ids != renderer.encode(talks[0]).ids


@pytest.mark.parametrize(
  ("make", "name", "system"), [(made.llama3, "llama3", ""), (made.qwen2, "chatml", "You help.")]
)
def test_with_their_own_tokenizers_templates_equal_their_originals(
  make, name, system, talks, tmp_path
):
  tokenizer = Tokenizer.load(make(tmp_path))
  pieces = exported(tmp_path)
  source = tokenizer.declared.chat_template
  found = recognise(source, tokenizer)
  assert found is not None
  assert (found.name, found.system, found.exact) == (name, system, True)
  ours = Renderer(get_template(name), tokenizer, system)
  own = Renderer(own_template(source, tokenizer), tokenizer)
  for talk in talks:
    prompt = talk[:-1]
    theirs = ids_of_jinja(source, tokenizer, pieces, prompt, True)
    assert theirs == ours.encode_prompt(prompt) == own.encode_prompt(prompt)
    whole = ids_of_jinja(source, tokenizer, pieces, talk, False)
    n = len(ours.encode(talk).ids)  # its own goes on, with what our `after` puts before a turn
    assert own.encode(talk).ids == whole
    assert (whole[:n], own.encode(talk).mask[:n]) == (ours.encode(talk).ids, ours.encode(talk).mask)
    if own.round_trips(talk[-1].content):
      assert own.answer_text(own.encode_answer(talk[-1].content))
    assert own.encode_answer(talk[-1].content) == ours.encode_answer(talk[-1].content)


def test_a_template_of_llama2_is_recognised_with_a_sentencepiece_model(tokenizer):
  found = recognise(LLAMA2, tokenizer)
  assert found is not None
  assert (found.name, found.exact) == ("llama2", True)
  assert recognise(LLAMA2.replace("[INST]", "[ASK]"), tokenizer) is None  # the twin
  assert recognise("{{ raise_exception('no') }}", tokenizer) is None
  assert recognise("{% for", tokenizer) is None


def test_one_that_is_none_of_ours_is_used_as_it_is(tokenizer, chat):
  renderer = Renderer(own_template(TINYLLAMA, tokenizer), tokenizer)
  talk = chat("Hi?", "Hello.", "Why?", "So.").messages
  texts = [(s.text, s.supervised) for s in renderer.spans(talk)]
  assert [t for t in texts if t[1]] == [
    ("Hello.", True),
    ("</s>", True),
    ("So.", True),
    ("</s>", True),
  ]
  assert renderer.stop_ids() == (2,)
  for text in ("So.", " led", "a</s>b", "two\n\n"):
    answer = renderer.encode_answer(text)
    head = renderer.encode_prompt(talk[:3]) + answer
    assert renderer.encode((*talk[:3], Message("assistant", text))).ids[: len(head)] == head
    assert renderer.answer_text(answer) == text


@pytest.mark.parametrize(
  ("source", "says"),
  [
    ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no special token: it never stops"),
    ("{{ messages[0]['content'] + eos_token }}", "does not write the assistant turn once"),
    (
      TINYLLAMA.replace("{{ '<|'", "{% if not loop.last %}old{% endif %}{{ '<|'"),
      "answers cannot be found in it",
    ),
    ("{{ raise_exception('only tools') }}", "the model's chat_template fails: only tools"),
    ("{{ ''.__class__.__mro__ }}", "the model's chat_template fails"),
    ("{% for x in range(10**9) %}{% endfor %}", "the model's chat_template fails"),
    ("", "has no chat_template; template 'model' needs one"),
  ],
)
def test_one_whose_answers_cannot_be_found_is_refused(source, says, tokenizer):
  with pytest.raises(UserError) as e:
    own_template(source, tokenizer)
  assert says in str(e.value)
  assert "\n" not in str(e.value)


def test_a_turn_that_it_leaves_out_is_refused(tokenizer, chat):
  renderer = Renderer(own_template(LLAMA2, tokenizer), tokenizer)
  with pytest.raises(UserError, match="does not write the system turn once"):
    renderer.encode(chat("Hi?", "So.", system="Be brief.").messages)
