"""tokenizer.json behind the same interface as SentencePiece."""

import json
import pickle

import pytest
import tokenizers
import tokenizers_made as made

from xwinjax.core.errors import UserError
from xwinjax.data import token_export
from xwinjax.data.tokenizer import Tokenizer

KINDS = {"llama3": made.llama3, "qwen2": made.qwen2, "blanks": made.blanks}
TEXTS = (
  "Hello there, what colour?",
  "def f(x):\n\n    return x\t# two  blanks ",
  "Zoë sagt 🙂 👩\u200d👧 中文 1234567",
  "<|eot_id|></s><|im_end|><s>[INST] USER:",
  "",
)


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
  return KINDS[request.param](tmp_path / request.param)


def test_ids_are_those_of_the_library(folder):
  ours = Tokenizer.load(folder)
  theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  for text in TEXTS[:3]:
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
  assert ours.encode_batch(TEXTS) == [ours.encode(t) for t in TEXTS]
  if folder.name == "llama3":  # the twin: with BOS they are others
    assert theirs.encode(TEXTS[0]).ids == ours.opening + ours.encode(TEXTS[0])
    assert theirs.encode(TEXTS[0]).ids != ours.encode(TEXTS[0])


def test_text_comes_back_and_never_becomes_a_special_token(folder):
  ours = Tokenizer.load(folder)
  for text in TEXTS:
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert not set(ids) & set(ours.marks.values())
  assert ours.decode([*ours.marks.values(), *ours.encode("Hi"), 10**6, -1]) == "Hi"


def test_twin_the_library_alone_makes_special_tokens_of_text(tmp_path):
  folder = made.llama3(tmp_path)
  theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
  assert Tokenizer.load(folder).special("<|eot_id|>") in theirs.encode(TEXTS[3]).ids


def test_it_decodes_as_it_grows(folder):
  ours = Tokenizer.load(folder)
  ids = ours.encode(TEXTS[2])
  grown = [ours.decode(ids[:n]) for n in range(len(ids) + 1)]
  assert grown[-1] == TEXTS[2]
  for text in grown:  # half a character is a replacement mark at the end, and nothing else
    assert TEXTS[2].startswith(text.rstrip("\ufffd"))


def test_bos_and_eos_are_what_the_files_say(tmp_path):
  llama3 = Tokenizer.load(made.llama3(tmp_path / "a"))
  assert llama3.opening == [llama3.special("<|begin_of_text|>")]
  assert llama3.special("eos") == llama3.special("<|eot_id|>")
  qwen2 = Tokenizer.load(made.qwen2(tmp_path / "b"))
  assert (qwen2.bos_id, qwen2.opening) == (None, [])
  with pytest.raises(UserError, match="needs the special token 'bos'"):
    qwen2.special("bos")
  config = tmp_path / "b" / "tokenizer_config.json"
  config.write_text("{}")
  with pytest.raises(UserError, match=r"no EOS token; tokenizer_config.json beside it names it"):
    Tokenizer.load(tmp_path / "b")


def test_new_tokens_come_behind_all_others(folder, tmp_path):
  before = Tokenizer.load(folder)
  after = before.with_special(["<|eot|>"])
  assert after.special("<|eot|>") == before.vocab_size == after.vocab_size - 1
  assert after.special("<|eot|>") not in after.encode("a<|eot|>b")
  token_export.save(after, tmp_path / "saved")
  again = Tokenizer.load(tmp_path / "saved")
  assert again.marks == after.marks
  assert again.encode(TEXTS[1]) == before.encode(TEXTS[1])
  assert len({t.fingerprint() for t in (before, after)}) == 2


def test_it_travels_to_another_process(folder):
  ours = Tokenizer.load(folder)
  again = pickle.loads(pickle.dumps(ours))
  assert [again.encode(t) for t in TEXTS] == [ours.encode(t) for t in TEXTS]
  assert again.decode(again.encode(TEXTS[2])) == TEXTS[2]


def test_a_stretch_may_go_on_from_other_text(tmp_path):
  ours = Tokenizer.load(made.blanks(tmp_path / "a"))
  theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "a" / "tokenizer.json"))
  inside = theirs.encode("<s>Hello", add_special_tokens=False).ids[1:]
  assert ours.encode("Hello", opens=False) == inside != ours.encode("Hello")
  assert ours.decode(ours.encode(" Hello", opens=False), opens=False) == " Hello"


def test_llama2_too(llama2_tokenizer):
  whole = llama2_tokenizer.encode("USER: Hello there")
  head = llama2_tokenizer.encode("USER:")
  assert whole == head + llama2_tokenizer.encode(" Hello there", opens=False)
  assert llama2_tokenizer.decode(whole[len(head) :], opens=False) == " Hello there"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}'])
def test_a_wrong_file_gets_a_line(text, tmp_path):
  (tmp_path / "tokenizer.json").write_text(text)
  with pytest.raises(UserError, match=r"tokenizer\.json") as e:
    Tokenizer.load(tmp_path)
  assert "\n" not in str(e.value)


def test_a_tokenizer_json_for_a_sentencepiece_model_cuts_as_it_does(llama2_tokenizer, tmp_path):
  assert token_export.save(llama2_tokenizer, tmp_path) == []
  (tmp_path / "tokenizer.model").unlink()
  as_json = Tokenizer.load(tmp_path)
  for text in (*TEXTS, *token_export.PROBES, "   led", "x" + " " * 50 + "y"):
    assert as_json.encode(text) == llama2_tokenizer.encode(text)
  assert as_json.marks == {**llama2_tokenizer.marks, "<unk>": 0}
  fields = json.loads((tmp_path / "tokenizer.json").read_text())
  fields["model"]["merges"].sort(key=str)  # the twin
  (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
  assert Tokenizer.load(tmp_path).encode(TEXTS[1]) != llama2_tokenizer.encode(TEXTS[1])


def test_one_that_cuts_otherwise_is_not_carried_along(llama2_tokenizer, tmp_path):
  source = tmp_path / "model"
  token_export.save(llama2_tokenizer, source)
  path = source / "tokenizer.json"
  true = path.read_text()
  fields = json.loads(true)
  fields["normalizer"] = {"type": "Lowercase"}
  path.write_text(json.dumps(fields))
  token_export.save(Tokenizer.load(source), tmp_path / "out")
  assert json.loads((tmp_path / "out" / "tokenizer.json").read_text()) == json.loads(true)
