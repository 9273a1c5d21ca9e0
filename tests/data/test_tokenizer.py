"""SentencePiece against stored ids; special tokens that no text can produce."""

import json
import random

import pytest

from xwinjax.core.errors import UserError
from xwinjax.data import token_export
from xwinjax.data.tokenizer import Tokenizer, train_tokenizer

GOLDENS = (
  "llama2-tokenizer/golden.json",
  "stories260k-hf/tokenizer_golden.json",
  "stories3m-hf/tokenizer_golden.json",
)
MARKERS = (
  "<s>",
  "</s>",
  "<unk>",
  "[INST]",
  "[/INST]",
  "<<SYS>>",
  "USER:",
  "ASSISTANT:",
  "<0x0A>",
  "<|eot_id|>",
  "<|start_header_id|>",
  "<|im_start|>",
  "<|im_end|>",
  "<|eot|>",
  "bos",
  "\u2581<s>",
  "a</s>b",
  "<s></s>" * 3,
)


def golden_of(shared, name):
  golden = json.loads((shared / name).read_text(encoding="utf-8"))
  return Tokenizer(shared / name.split("/")[0] / "tokenizer.model"), golden


def wrong_ids(tokenizer, golden) -> list[str]:
  return [c["text"] for c in golden["cases"] if tokenizer.encode(c["text"]) != c["sentencepiece"]]


@pytest.mark.parametrize("name", GOLDENS)
def test_ids_equal_the_stored_ones(name, shared):
  tokenizer, golden = golden_of(shared, name)
  assert wrong_ids(tokenizer, golden) == []
  texts = [case["text"] for case in golden["cases"]]
  assert tokenizer.encode_batch(texts) == [tokenizer.encode(t) for t in texts]


@pytest.mark.parametrize("name", GOLDENS)
def test_twin_other_ids_are_noticed(name, shared, monkeypatch):
  tokenizer, golden = golden_of(shared, name)
  encode = tokenizer.encode
  monkeypatch.setattr(tokenizer, "encode", lambda text: encode(text.strip()))
  assert "\n" in wrong_ids(tokenizer, golden)
  monkeypatch.setattr(tokenizer, "encode", lambda text: [tokenizer.bos_id, *encode(text)])
  assert len(wrong_ids(tokenizer, golden)) == len(golden["cases"])


@pytest.mark.parametrize("name", GOLDENS)
def test_decoded_text_equals_the_stored_one(name, shared):
  tokenizer, golden = golden_of(shared, name)
  for case in golden.get("decode_cases", []):
    assert tokenizer.decode(case["ids"]) == case["sentencepiece"]
  for case in golden["cases"]:
    assert tokenizer.decode(case["sentencepiece"]) == case["decoded"]


@pytest.mark.parametrize("which", ["tokenizer", "llama2_tokenizer"])
def test_no_text_becomes_a_special_token(which, request):
  tokenizer = request.getfixturevalue(which)
  control = {
    i
    for i in range(tokenizer.vocab_size)
    if i in (tokenizer.bos_id, tokenizer.eos_id) or i in tokenizer.added.values()
  }
  assert len(control) == 2 + 6
  for text in (*MARKERS, *tokenizer.added, " ".join(MARKERS)):
    ids = tokenizer.encode(text)
    assert not control & set(ids)
    assert tokenizer.decode(ids) == text.replace("\u2581", " ")


def test_twin_a_piece_that_text_produces_is_no_special_token(tmp_path):
  import sentencepiece as spm

  model = tmp_path / "tokenizer.model"
  with model.open("wb") as out:
    spm.SentencePieceTrainer.train(
      sentence_iterator=iter(["some text here"] * 9),
      model_writer=out,
      vocab_size=280,
      model_type="bpe",
      byte_fallback=True,
      user_defined_symbols=["<|eot|>"],
      minloglevel=2,
      hard_vocab_limit=False,
    )
  plain = Tokenizer(model)
  [eot] = [i for i in plain.encode("a<|eot|>") if plain.piece(i) == "<|eot|>"]
  for tokenizer in (plain, Tokenizer(model, {"<|eot|>": eot})):
    with pytest.raises(UserError, match="only as a piece that plain text produces"):
      tokenizer.special("<|eot|>")


@pytest.mark.parametrize("which", ["tokenizer", "llama2_tokenizer"])
def test_any_text_comes_back(which, request):
  tokenizer = request.getfixturevalue(which)
  rng = random.Random(0)
  alphabets = (
    "ab  \n\t",
    "äöüßéñ",
    "中文字符",
    "🙂👩\u200d👧",
    "\u2028\x85\xa0",
    "<s></>[]|",
    "0123456789",
  )
  for _ in range(200):
    text = "".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randint(1, 30)))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_control_added_and_impossible_ids_decode_to_nothing(tokenizer):
  ids = tokenizer.encode("Hi.")
  odd = [tokenizer.bos_id, *ids, tokenizer.eos_id, *tokenizer.added.values(), 10**6, -1]
  assert tokenizer.decode(odd) == "Hi."


def test_a_trained_tokenizer_knows_its_special_tokens_after_a_round_trip(tmp_path):
  made = train_tokenizer(
    ["a few words, 123"] * 50, tmp_path / "m" / "tokenizer.model", 300, control=["<|eot|>"]
  )
  made.added = {"<|new|>": made.vocab_size}
  token_export.save(made, tmp_path / "folder")
  again = Tokenizer.load(tmp_path / "folder")
  assert again.special("<|eot|>") == 3
  assert again.special("<|new|>") == made.added["<|new|>"] == again.vocab_size - 1
  assert [again.piece(i) for i in (1, 2, 3, again.vocab_size - 1)] == [
    "<s>",
    "</s>",
    "<|eot|>",
    "<|new|>",
  ]
  assert [again.piece(i) for i in again.encode("12")][-2:] == ["1", "2"]  # digits apart


def test_the_fingerprint_covers_pieces_and_added_tokens(tokenizer, tiny_folder, shared):
  same = Tokenizer(tiny_folder / "tokenizer.model", tokenizer.added)
  assert same.fingerprint() == tokenizer.fingerprint() == tokenizer.fingerprint()
  others = [
    Tokenizer(tiny_folder / "tokenizer.model"),
    Tokenizer(shared / "stories260k-hf" / "tokenizer.model"),
  ]
  assert len({t.fingerprint() for t in (same, *others)}) == 3


def test_a_wrong_file_gets_a_line(tmp_path, tiny_folder):
  with pytest.raises(UserError, match=r"no such file; a model folder needs tokenizer.model"):
    Tokenizer.load(tmp_path)
  model = tmp_path / "tokenizer.model"
  for blob in (b"", b"junk", (tiny_folder / "tokenizer.model").read_bytes()[:100]):
    model.write_bytes(blob)
    with pytest.raises(UserError, match=r"tokenizer.model: "):
      Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
  ("added", "says"),
  [
    ("{", "not valid JSON"),
    ('["<|eot|>"]', "expected an object of name: id"),
    ('{"<|eot|>": "7"}', "expected an object of name: id"),
    ('{"<|eot|>": -1}', "expected an object of name: id"),
    ('{"<|eot|>": 5}', "'<|eot|>' has the id 5 of another piece"),
  ],
)
def test_wrong_added_tokens_get_a_line(added, says, tmp_path, tiny_folder):
  (tmp_path / "tokenizer.model").write_bytes((tiny_folder / "tokenizer.model").read_bytes())
  (tmp_path / "added_tokens.json").write_text(added)
  with pytest.raises(UserError) as e:
    Tokenizer.load(tmp_path)
  assert says in str(e.value)
  assert "\n" not in str(e.value)


def test_a_special_token_it_lacks_is_named(tiny_folder):
  with pytest.raises(UserError, match=r"needs the special token '<\|eot\|>'.* it not at all"):
    Tokenizer.load(tiny_folder).special("<|eot|>")
