"""Recipes: what may be said, and where a mistake stands."""

from dataclasses import fields

import pytest

from edgesr.errors import BadFileError, UsageError
from edgesr.recipes import read, shipped
from edgesr.recipes.lines import line_of
from edgesr.recipes.schema import Stage
from edgesr.train.distil import STRATEGIES
from edgesr.train.losses import LOSSES

GOOD = """\
# a comment
network = "plain-s-x2"
data = ["photos"]

[stage.first]
steps = 1_000
loss = { l1 = 1, ssim = 0.1 }

[stage.second]
rate = 1e-4

[qat]
steps = 50
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return written


def test_a_recipe_is_read(write):
    recipe = read(write(GOOD))
    assert recipe.network == "plain-s-x2" and recipe.data == ("photos",)
    assert list(recipe.stage) == ["first", "second"]
    assert recipe.stage["first"].steps == 1000
    assert recipe.stage["first"].loss == {"l1": 1.0, "ssim": 0.1}
    assert recipe.stage["second"].rate == 1e-4 and recipe.stage["second"].steps == 60_000
    assert recipe.qat.steps == 50 and recipe.export is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 1_000", "stpes = 1_000", r"mine.toml:6: unknown key `stpes`; did you mean `st"),
        ("steps = 50", "step = 50", r"mine.toml:13: unknown key `step`; did you mean `steps`"),
        ("steps = 1_000", 'steps = "many"', r"toml:6: `steps` must be a whole number, not 'many'"),
        ("steps = 1_000", "steps = 0", r"toml:6: `steps` must be at least 1, not 0"),
        ("steps = 1_000", "steps = true", r"toml:6: `steps` must be a whole number, not True"),
        ("rate = 1e-4", "rate = -1", r"toml:10: `rate` must be at least 0, not -1"),
        ("rate = 1e-4", 'shape = "cosin"', r"toml:10: `shape` must be one of cosine, step"),
        ("ssim = 0.1", "sim = 0.1", r"toml:7: no loss `sim`; did you mean `ssim`"),
        ("rate = 1e-4", 'distil = "fadk"', r"toml:10: no strategy `fadk`; did you mean `fakd`"),
        ("rate = 1e-4", 'distil = "fakd"', r"toml:10: `fakd` needs a `teacher`"),
        ("rate = 1e-4", 'network = "plain-m-x2"', r"toml:10: the last stage must train `plain-s"),
        ('"plain-s-x2"', '"plane-s-x2"', r"toml:2: no network is called `plane-s`; did you mean p"),
        ('"plain-s-x2"', '"plain-s-x9"', r"toml:2: .*9 is "),
        ('network = "plain-s-x2"\n', "", r"toml:1: `network` is missing"),
        ('data = ["photos"]', 'data = "photos"', r"toml:3: `data` must be a list"),
        ('data = ["photos"]', "data = [1]", r"toml:3: `data` must be text, not 1"),
        ('data = ["photos"]', "squared_from = 1", r"toml:3: unknown key .*; it belongs into \[st"),
        ("[qat]", "[qta]", r"toml:12: unknown key `qta`; did you mean `qat`"),
        ("[stage.second]", "[stage.second", r"mine.toml: .*line 9"),
        ("[qat]", "kept = 0\n[qat]", r"toml:12: unknown key `kept`"),
    ],
)  # fmt: skip
def test_mistakes_have_a_place(write, old, new, message):
    assert old in GOOD
    with pytest.raises(BadFileError, match=message):
        read(write(GOOD.replace(old, new)))


def test_qat_needs_photos_to_validate_with(write):
    with pytest.raises(BadFileError, match=r"toml:3: \[qat\] needs `kept` photos"):
        read(write(GOOD.replace('data = ["photos"]', "kept = 0")))
    assert read(write(GOOD.replace('data = ["photos"]', 'kept = 0\nvalidation = "set5"'))).qat


def test_settings_override(write):
    path = write(GOOD)
    recipe = read(path, ["steps=5", "stage.second.rate=2e-4", "qat.steps=7", "seed=3"])
    assert [stage.steps for stage in recipe.stage.values()] == [5, 5]
    assert recipe.stage["second"].rate == 2e-4 and recipe.stage["first"].rate == 1e-3
    assert recipe.qat.steps == 7 and recipe.seed == 3
    words = read(path, ["device=cpu", "export.target=onnx", "stage.first.loss.l1=2"])
    assert words.device == "cpu" and words.export.target == "onnx"
    assert words.stage["first"].loss == {"l1": 2.0, "ssim": 0.1}
    assert read(path, data=["a", "b"]).data == ("a", "b")
    assert read(path, data=None).data == ("photos",)


def test_every_key_can_be_overridden():
    values = {
        "int": "16", "float": "0.5", "bool": "true", "str": "",
    }  # fmt: skip
    for field in fields(Stage):
        kind = str(field.type).split(" |")[0]
        if kind in values and field.name not in ("start", "network"):
            stage = read("samples-x2", [f"stage.main.{field.name}={values[kind]}"]).stage["main"]
            assert str(getattr(stage, field.name)).lower().startswith(values[kind])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stpes=3", r"--set stpes=3: unknown key `stpes`"),
        ("qat.stpes=3", r"--set qat.stpes=3: unknown key `stpes`; did you mean `steps`"),
        ("steps=0", r"--set steps=0: `steps` must be at least 1"),
        ("steps", r"--set steps: write KEY=VALUE"),
        ("network.x=1", r"--set network.x=1: `network` is no table"),
        ("network=plain", r"--set network=plain: `plain` has no scale|no network"),
    ],
)
def test_mistakes_in_settings_name_the_setting(write, setting, message):
    with pytest.raises(UsageError, match=message):
        read(write(GOOD), [setting])


def test_names():
    assert read("ncnet-x3").network == "ncnet-x3" and read("ncnet-x3").qat
    assert read("recipes/ncnet-x3.toml") == read("ncnet-x3")
    bare = read("espcn-x2")
    assert bare.network == "espcn-x2" and list(bare.stage) == ["main"] and bare.qat is None
    with pytest.raises(UsageError, match=r"called `ncnt-x3`; did you mean `ncnet-x3`"):
        read("ncnt-x3")
    with pytest.raises(BadFileError, match=r"no such recipe: .*other.toml; shipped ones are abpn"):
        read("folder/other.toml")


def test_shipped_recipes_are_sound():
    assert {"ncnet-x3", "rlfn-x4", "samples-x2", "plain-m-x3"} <= set(shipped())
    for name in shipped():
        recipe = read(name)
        assert name.startswith((recipe.network, "samples"))
    assert read("rlfn-x4").stage["x2"].network == "rlfn-x2"


def test_docs_name_every_loss_and_strategy():
    """The schema is the reference people read."""
    import inspect

    text = inspect.getsource(Stage)
    assert all(name in text for name in (*LOSSES, *STRATEGIES))


def test_lines():
    assert line_of(GOOD, ("network",)) == 2
    assert line_of(GOOD, ("stage", "first", "steps")) == 6
    assert line_of(GOOD, ("stage", "first", "loss", "ssim")) == 7
    assert line_of(GOOD, ("stage", "second", "absent")) == 9
    assert line_of(GOOD, ("absent",)) == 1
    assert line_of('a.b = 1\n["x y".z]\n"q" = 2\n', ("x y", "z", "q")) == 3
    assert line_of("a.b = 1\n", ("a", "b")) == 1
