"""Hugging Face folders in and out: every tensor in its place, to the bit."""

import json
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from xwinjax.checkpoint import hf_config, huggingface
from xwinjax.core.errors import UserError
from xwinjax.model import llama
from xwinjax.sharding import rules

GOLDENS = ("gqa_untied", "llama3_rope", "mha_tied", "wide_head")
STORIES = ("stories260k-hf", "stories3m-hf")


@pytest.fixture
def folder(config, params, tmp_path):
  return huggingface.save(tmp_path / "model", config, params)


@pytest.fixture
def change(folder):
  """change(edit) rewrites the folder's tensors after edit(tensors by name)."""

  def change(edit):
    tensors = load_file(folder / "model.safetensors")
    tensors = edit(tensors) or tensors
    save_file(tensors, folder / "model.safetensors")
    return folder

  return change


def same_bits(a, b) -> bool:
  if jax.tree.structure(a) != jax.tree.structure(b):
    return False
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def refusal(folder) -> str:
  with pytest.raises(UserError) as e:
    huggingface.load(folder)
  assert "\n" not in str(e.value)
  return str(e.value)


def golden_folder(shared, name):
  return shared / name if name in STORIES else shared / "goldens" / f"llama_{name}"


# Out and in


def test_a_saved_model_is_loaded_to_the_bit(folder, config, params):
  loaded_config, loaded = huggingface.load(folder)
  assert loaded_config == config
  assert same_bits(loaded, params)
  other = jax.tree.map(lambda x: x, loaded)
  other["layers"]["attention"]["q"] = (
    loaded["layers"]["attention"]["q"]
    .swapaxes(2, 3)
    .reshape(loaded["layers"]["attention"]["q"].shape)
  )
  assert not same_bits(other, params)  # the check's twin


@pytest.mark.parametrize("name", [*GOLDENS, *STORIES])
def test_a_loaded_model_is_written_as_it_was(name, shared, tmp_path):
  theirs = golden_folder(shared, name)
  config, params = huggingface.load(theirs)
  ours = huggingface.save(tmp_path / "out", config, params)
  before, after = (load_file(f / "model.safetensors") for f in (theirs, ours))
  before.pop("lm_head.weight", None) if config.tied else None
  assert before.keys() == after.keys()
  for tensor, values in before.items():
    assert values.dtype == after[tensor].dtype
    assert np.array_equal(values, after[tensor]), tensor


@pytest.mark.parametrize("name", [*GOLDENS, *STORIES])
def test_the_written_config_says_what_theirs_says(name, shared, tmp_path):
  theirs = golden_folder(shared, name)
  config, params = huggingface.load(theirs)
  ours = huggingface.save(tmp_path / "out", config, params)
  before, after = (json.loads((f / "config.json").read_text()) for f in (theirs, ours))
  differs = {k: (v, after.get(k)) for k, v in before.items() if after.get(k) != v}
  allowed = {"attention_dropout", "initializer_range", "use_cache"}  # of training and caching
  assert differs.keys() <= allowed, differs
  assert hf_config.read(ours).llama == hf_config.read(theirs).llama


def test_each_number_lies_where_the_matrix_has_it(config, folder):
  # W[out, in] of theirs: head h, unit n of q is row h·N + n; o's column likewise.
  _, p = huggingface.load(folder)
  raw = load_file(folder / "model.safetensors")
  layer, N = 1, config.head_dim
  a, prefix = p["layers"]["attention"], f"model.layers.{layer}.self_attn"
  assert a["q"][layer, 5, 3, 2] == raw[f"{prefix}.q_proj.weight"][3 * N + 2, 5]
  assert a["k"][layer, 5, 1, 2] == raw[f"{prefix}.k_proj.weight"][1 * N + 2, 5]
  assert a["v"][layer, 7, 0, 4] == raw[f"{prefix}.v_proj.weight"][4, 7]
  assert a["o"][layer, 3, 2, 5] == raw[f"{prefix}.o_proj.weight"][5, 3 * N + 2]
  mlp = p["layers"]["mlp"]
  assert mlp["gate"][layer, 5, 9] == raw[f"model.layers.{layer}.mlp.gate_proj.weight"][9, 5]
  assert mlp["down"][layer, 9, 5] == raw[f"model.layers.{layer}.mlp.down_proj.weight"][5, 9]
  assert p["embed"]["embedding"][7, 3] == raw["model.embed_tokens.weight"][7, 3]
  assert p["head"]["kernel"][3, 7] == raw["lm_head.weight"][7, 3]


@pytest.mark.parametrize(
  ("name", "dtype"),
  [("float32", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)],
)
def test_each_dtype_is_written_and_read_as_its_rounding(name, dtype, config, params, tmp_path):
  folder = huggingface.save(tmp_path / "model", config, params, dtype=name)
  assert {str(t.dtype) for t in load_file(folder / "model.safetensors").values()} == {name}
  assert json.loads((folder / "config.json").read_text())["torch_dtype"] == name
  _, loaded = huggingface.load(folder)
  rounded = jax.tree.map(lambda x: np.asarray(x).astype(dtype).astype(np.float32), params)
  assert same_bits(loaded, rounded)
  assert same_bits(loaded, params) == (name == "float32")
  assert huggingface.open_folder(folder).dtype == name
  assert {x.dtype for x in jax.tree.leaves(loaded)} == {jnp.dtype("float32")}


def test_the_dtype_is_that_of_the_weights_whatever_config_json_says(config, params, tmp_path):
  folder = huggingface.save(tmp_path / "model", config, params, dtype="bfloat16")
  fields = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps({**fields, "torch_dtype": "float16"}))
  tensors = load_file(folder / "model.safetensors")
  norm = tensors["model.norm.weight"].astype(np.float32)  # a few numbers are not the rule
  save_file({**tensors, "model.norm.weight": norm}, folder / "model.safetensors")
  opened = huggingface.open_folder(folder)
  assert (opened.described.dtype, opened.dtype) == ("float16", "bfloat16")


def test_config_json_is_parsed_once(folder, monkeypatch):
  reads, read_json = [], hf_config.read_json
  monkeypatch.setattr(hf_config, "read_json", lambda path: reads.append(path) or read_json(path))
  huggingface.load(folder)
  assert reads == [folder / "config.json"]


def test_an_unknown_dtype_is_refused_and_nothing_written(config, params, tmp_path):
  with pytest.raises(UserError, match="dtype 'int8' is not one of float32, bfloat16, float16"):
    huggingface.save(tmp_path / "model", config, params, dtype="int8")
  assert not (tmp_path / "model").exists()


def test_a_large_model_becomes_several_files_and_an_index(config, params, tmp_path, folder):
  sharded = huggingface.save(tmp_path / "sharded", config, params, max_shard_bytes=9_000)
  files = sorted(p.name for p in sharded.glob("*.safetensors"))
  assert len(files) > 2
  assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
  index = json.loads((sharded / "model.safetensors.index.json").read_text())
  whole = load_file(folder / "model.safetensors")
  assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
  assert index["weight_map"].keys() == whole.keys()
  for tensor, file in index["weight_map"].items():
    assert np.array_equal(load_file(sharded / file)[tensor], whole[tensor])
  assert same_bits(huggingface.load(sharded)[1], params)


def test_saving_again_leaves_nothing_of_the_old_model(config, params, tmp_path):
  double = jax.tree.map(lambda x: 2 * x, params)
  folder = huggingface.save(tmp_path / "model", config, params)
  huggingface.save(folder, config, double, max_shard_bytes=9_000)
  assert same_bits(huggingface.load(folder)[1], double)
  huggingface.save(folder, config, params)
  assert same_bits(huggingface.load(folder)[1], params)
  assert [p.name for p in folder.glob("*safetensors*")] == ["model.safetensors"]


def test_a_model_is_loaded_in_parts_onto_a_mesh(config, params, folder):
  mesh = jax.make_mesh((1, 2, 2), ("data", "fsdp", "tensor"), devices=jax.devices()[:4])
  _, loaded = huggingface.load(folder, lambda path: rules.param_sharding(mesh, path))
  assert same_bits(loaded, params)
  q = loaded["layers"]["attention"]["q"]
  assert q.addressable_shards[0].data.size == q.size // 4


def test_tokenizer_files_travel_along(config, params, tiny_folder, tmp_path):
  folder = huggingface.save(
    tmp_path / "m", config, params, tokenizer_from=tiny_folder, bos_id=1, eos_ids=(2, 7)
  )
  for name in ("tokenizer.model", "tokenizer_config.json"):
    assert (folder / name).read_bytes() == (tiny_folder / name).read_bytes()
  for name in ("config.json", "generation_config.json"):
    fields = json.loads((folder / name).read_text())
    assert (fields["bos_token_id"], fields["eos_token_id"]) == (1, [2, 7])


# Reward models


def test_a_reward_model_comes_back_as_one(config, params, tmp_path, folder):
  reward = llama.with_reward_head(params)
  reward["reward"]["kernel"] = jnp.arange(config.dim, dtype=jnp.float32)
  saved = huggingface.save(tmp_path / "rm", config, reward)
  assert huggingface.open_folder(saved).reward
  assert not huggingface.open_folder(folder).reward
  assert same_bits(huggingface.load(saved)[1], reward)
  tensors = load_file(saved / "model.safetensors")
  assert tensors["score.weight"].shape == (1, config.dim)
  assert "lm_head.weight" not in tensors
  fields = json.loads((saved / "config.json").read_text())
  assert fields["architectures"] == ["LlamaForSequenceClassification"]
  assert (fields["num_labels"], fields["pad_token_id"]) == (1, 1)
  assert fields["tie_word_embeddings"] is False


# What is refused


@pytest.mark.parametrize(
  ("edit", "says"),
  [
    (lambda t: t.pop("model.norm.weight"), "lacks model.norm.weight; config.json says 2"),
    (
      lambda t: [t.pop(n) for n in list(t) if "layers.1." in n],
      "lacks model.layers.1.input_layernorm.weight, model.layers.1.mlp.down_proj.weight, "
      "model.layers.1.mlp.gate_proj.weight and 6 more",
    ),
    (
      lambda t: t.update({"model.layers.2.mlp.up_proj.weight": np.zeros(3, np.float32)}),
      "holds unexpected model.layers.2.mlp.up_proj.weight",
    ),
    (
      lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": np.zeros(3, np.float32)}),
      "holds unexpected model.layers.0.self_attn.q_proj.bias",
    ),
    (
      lambda t: t.update({"model.embed_tokens.weight": np.zeros((48, 17), np.float32)}),
      "model.embed_tokens.weight has shape (48, 17); config.json implies (48, 16)",
    ),
    (
      lambda t: t.update({"model.norm.weight": np.zeros(16, np.int8)}),
      "model.norm.weight is I8; expected F32, F16 or BF16",
    ),
  ],
)
def test_tensors_that_do_not_fit_are_named(edit, says, change):
  def apply(tensors):
    edit(tensors)

  assert says in refusal(change(apply))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_number_that_is_not_finite_is_named_by_file_and_tensor(
  wrong, dtype, config, params, tmp_path
):
  folder = huggingface.save(tmp_path / "model", config, params, dtype=dtype)
  huggingface.load(folder)  # the twin: the same weights as they were
  tensors = load_file(folder / "model.safetensors")
  name = "model.layers.1.mlp.up_proj.weight"
  tensors[name][3, 5] = wrong
  save_file(tensors, folder / "model.safetensors")
  said = refusal(folder)
  assert said.startswith(
    f"{folder}/model.safetensors: {name} holds 1 of {tensors[name].size} numbers"
  )
  assert "not finite (NaN or infinity)" in said


def test_stored_rotary_frequencies_do_no_harm(change, params):
  folder = change(
    lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)})
  )
  assert same_bits(huggingface.load(folder)[1], params)


def test_a_tied_model_may_store_its_head_if_it_is_the_embedding(config, params, tmp_path):
  config = config.replace(tied=True)
  params = {name: p for name, p in params.items() if name != "head"}
  folder = huggingface.save(tmp_path / "tied", config, params)
  tensors = load_file(folder / "model.safetensors")
  assert "lm_head.weight" not in tensors
  head = tensors["model.embed_tokens.weight"]
  save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors")
  assert same_bits(huggingface.load(folder)[1], params)
  save_file({**tensors, "lm_head.weight": head + 1}, folder / "model.safetensors")
  assert "holds unexpected lm_head.weight; config.json says 2 layers, tie_word_embeddings true" in (
    refusal(folder)
  )


def test_a_damaged_weights_file_is_named(folder):
  path = folder / "model.safetensors"
  whole = path.read_bytes()
  for blob in (whole[:-1], whole[:100], b"", b"\xff" * 8 + whole[8:]):
    path.write_bytes(blob)
    assert refusal(folder).startswith(f"{path}: not a whole safetensors file (")
  path.unlink()
  assert "no model.safetensors and no model.safetensors.index.json" in refusal(folder)


@pytest.mark.parametrize(
  ("index", "says"),
  [
    ("{", "not valid JSON"),
    ("[]", "no weight_map"),
    ('{"weight_map": []}', "no weight_map"),
    ('{"weight_map": {"a": "../model.safetensors"}}', "only bare file names are read"),
    ('{"weight_map": {"a": "/etc/passwd"}}', "only bare file names are read"),
    ('{"weight_map": {"a": "gone.safetensors"}}', "no such file, though the index names it"),
  ],
)
def test_a_wrong_index_gets_a_line(index, says, folder):
  (folder / "model.safetensors").rename(folder / "elsewhere.safetensors")
  (folder / "model.safetensors.index.json").write_text(index)
  assert says in refusal(folder)


def test_a_config_that_is_no_object_gets_a_line(folder):
  for text in ("[]", '"llama"'):
    (folder / "config.json").write_text(text)
    assert "config.json: expected a JSON object" in refusal(folder)


def test_twin_another_layout_is_not_what_theirs_holds(shared, tmp_path, monkeypatch):
  monkeypatch.setattr(
    huggingface,
    "to_theirs",
    lambda row, config, x: np.ascontiguousarray(x.reshape(row.their_shape(config))),
  )
  with pytest.raises(AssertionError):
    test_a_loaded_model_is_written_as_it_was("gqa_untied", shared, tmp_path)
  shutil.rmtree(tmp_path / "out")
