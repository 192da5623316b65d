"""Each distillation against its equation, and what all share: nothing of it is deployed."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgesr.errors import UsageError
from edgesr.models import create
from edgesr.models.plain import Plain
from edgesr.models.rlfn import RLFN
from edgesr.network import Network
from edgesr.train.distil import STRATEGIES, Teacher
from edgesr.train.distil.fakd import affinity
from edgesr.train.distil.features import choose_points, with_maps
from edgesr.train.distil.mkd import KRNet
from edgesr.train.distil.strategy import Seen
from edgesr.train.distil.tas import reduced
from edgesr.train.loop import Engine, Schedule, train
from edgesr.train.objective import Reconstruction
from edgesr.train.unit import Unit


def student(seed=0):
    torch.manual_seed(seed)
    return Network(Plain(2, channels=6, blocks=2), "student", 2)


def rlfn(scale=2, seed=1):
    torch.manual_seed(seed)
    return Network(RLFN(scale, channels=8, blocks=3), "teacher", scale, value_range=255.0)


def make(name, **options):
    if name == "tas":
        options.setdefault("assistant", student(seed=5))
    torch.manual_seed(3)
    return STRATEGIES[name](student(), Teacher(rlfn(), points=2), **options)


def numbers(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


@pytest.fixture
def seen():
    """Two pairs of maps: student 6 channels, teacher 8; three patches."""
    maps = [[numbers(10 * side + i, 3, width, 4, 5) for i in range(2)]
            for side, width in enumerate((6, 8))]  # fmt: skip
    images = [numbers(30 + i, 3, 3, 8, 10) for i in range(3)]
    return Seen(numbers(40, 3, 3, 4, 5), images[0], images[1], maps[0], images[2], maps[1])


def adapted(strategy, seen):
    """Student maps after their 1x1 convolutions, as matrix products."""
    out = []
    for conv, maps in zip(strategy.adapt.maps, seen.student_maps, strict=True):
        matrix, bias = conv.weight[:, :, 0, 0], conv.bias
        out.append(torch.einsum("oc,nchw->nohw", matrix, maps) + bias[None, :, None, None])
    return out


def test_output(seen):
    by_hand = (seen.student_image - seen.teacher_image).abs().sum() / (3 * 3 * 8 * 10)
    torch.testing.assert_close(make("output").knowledge(seen), by_hand)


def test_fitnets(seen):
    strategy = make("fitnets")
    terms = [
        ((s - t) ** 2).sum() / t.numel()
        for s, t in zip(adapted(strategy, seen), seen.teacher_maps, strict=True)
    ]
    torch.testing.assert_close(strategy.knowledge(seen), (terms[0] + terms[1]) / 2)


def test_fakd(seen):
    """Equations 2 to 4, pixel by pixel."""

    def by_hand(features):
        count, height, width = features.shape[0], *features.shape[2:]
        result = torch.zeros(count, height * width, height * width)
        for n in range(count):
            places = [
                features[n, :, y, x] / features[n, :, y, x].norm()
                for y in range(height)
                for x in range(width)
            ]
            for i, a in enumerate(places):
                for j, b in enumerate(places):
                    result[n, i, j] = a @ b
        return result

    strategy = make("fakd")
    terms = [
        (by_hand(s) - by_hand(t)).abs().mean()
        for s, t in zip(seen.student_maps, seen.teacher_maps, strict=True)
    ]
    image = (seen.student_image - seen.teacher_image).abs().mean()
    expected = image + strategy.affinity_weight * (terms[0] + terms[1]) / 2
    torch.testing.assert_close(strategy.knowledge(seen), expected)


def test_affinity_of_large_maps_is_that_of_their_means():
    large = numbers(1, 1, 4, 32, 32)
    means = large.reshape(1, 4, 16, 2, 16, 2).mean((3, 5))
    torch.testing.assert_close(affinity(large), affinity(means))
    assert affinity(large).shape == (1, 256, 256)


def test_lsfd(seen):
    strategy = make("lsfd")
    difference = (seen.teacher_image - seen.student_image).abs().mean(1)
    cells = difference.reshape(3, 4, 2, 5, 2).mean((2, 4))
    terms = []
    for s, t in zip(adapted(strategy, seen), seen.teacher_maps, strict=True):
        total = 0.0
        for n in range(3):
            for y in range(4):
                for x in range(5):
                    unit = s[n, :, y, x] / s[n, :, y, x].norm()
                    wanted = t[n, :, y, x] / t[n, :, y, x].norm()
                    weight = cells[n, y, x] / cells[n].mean()
                    total = total + weight * ((unit - wanted) ** 2).sum()
        terms.append(total / (3 * 4 * 5))
    torch.testing.assert_close(strategy.knowledge(seen), (terms[0] + terms[1]) / 2)


def test_facd(seen):
    strategy = make("facd")
    hr = seen.teacher_image.clone()
    hr[2] = seen.student_image[2]  # nothing to learn from this one
    seen = Seen(seen.lr, hr, seen.student_image, seen.student_maps,
                seen.teacher_image, seen.teacher_maps)  # fmt: skip
    terms = []
    for s, t in zip(adapted(strategy, seen), seen.teacher_maps, strict=True):
        values = []
        for n in range(2):
            near = (s[n] - t[n]).abs().sum()
            far = sum((s[n] - t[m]).abs().sum() for m in range(3) if m != n) / 2
            values.append(near / far)
        terms.append((values[0] + values[1]) / 3)
    torch.testing.assert_close(strategy.knowledge(seen), (terms[0] + terms[1]) / 2)


def test_facd_needs_another_patch(seen):
    one = Seen(*(side[:1] for side in (seen.lr, seen.hr, seen.student_image)),
               [m[:1] for m in seen.student_maps], seen.teacher_image[:1],
               [m[:1] for m in seen.teacher_maps])  # fmt: skip
    with pytest.raises(UsageError, match="at least 2"):
        make("facd").knowledge(one)


def test_attention(seen):
    strategy = make("attention")

    def cosine(a, b):
        return sum((p @ q) / (p.norm() * q.norm()) for p, q in zip(a, b, strict=True)) / len(a)

    terms = []
    for s, t in zip(adapted(strategy, seen), seen.teacher_maps, strict=True):
        places = cosine(s.abs().mean(1).flatten(1), t.abs().mean(1).flatten(1))
        channels = cosine(s.abs().mean((2, 3)), t.abs().mean((2, 3)))
        terms.append((1 - places) / 2 + (1 - channels) / 2)
    torch.testing.assert_close(strategy.knowledge(seen), (terms[0] + terms[1]) / 2)


def test_tas(seen):
    strategy = make("tas")
    image = strategy.assistant(seen.lr)
    hr = image.detach() + 0.1
    hr[2] = seen.student_image[2]  # the student knows better here
    seen = Seen(seen.lr, hr, seen.student_image, [], seen.teacher_image, [])
    expected = (
        (seen.student_image - image)[:2].abs().mean() * 2 / 3
        + (image - seen.hr).abs().mean()
        + (image - seen.teacher_image).abs().mean()
    )
    torch.testing.assert_close(strategy.knowledge(seen), expected)
    wanted = seen.student_image.clone().requires_grad_()
    strategy.knowledge(Seen(seen.lr, seen.hr, wanted, [], seen.teacher_image, [])).backward()
    # Of the student's image only its own term counts: signs, over the number of values.
    torch.testing.assert_close(wanted.grad[:2], (wanted - image)[:2].sign() / wanted.numel())
    assert not wanted.grad[2].any()


def test_tas_shows_the_teacher_the_finer_image():
    torch.manual_seed(0)
    pupil = Network(Plain(4, channels=4, blocks=1), "student", 4)
    helper = Network(Plain(4, channels=8, blocks=1), "assistant", 4)
    teacher = Teacher(rlfn(scale=2), points=1)
    strategy = STRATEGIES["tas"](pupil, teacher, assistant=helper)
    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64)
    unit = Unit.of(pupil)
    image, between = unit(lr), strategy.assistant(lr)
    taught = Unit(teacher.network.module, 255.0)(reduced(hr, 2))
    assert taught.shape == hr.shape
    near = (between - hr).abs().mean() < (image - hr).abs().mean()
    pairs = [(image, hr), (between, hr), (between, taught), *[(image, between)] * int(near)]
    expected = sum((a - b).abs().mean() for a, b in pairs)
    torch.testing.assert_close(strategy(unit, lr, hr, 0.0), expected)
    with pytest.raises(UsageError, match="62x62 do not divide by the teacher's scale 4"):
        reduced(torch.rand(1, 3, 62, 62), 4)


def test_krnet():
    """Every channel of every patch is filtered by its own kernel of norm 1."""
    torch.manual_seed(0)
    net = KRNet(6, 8, width=2)
    f_s, f_t = numbers(1, 2, 6, 4, 4), numbers(2, 2, 8, 4, 4)
    s, t = net.from_student(f_s), net.from_teacher(f_t)
    total = 0.0
    for n in range(2):
        cosines = [
            (s[n, c].flatten() @ t[n, c].flatten()) / (s[n, c].norm() * t[n, c].norm())
            for c in range(2)
        ]
        summary = torch.cat([s[n].mean((1, 2)), t[n].mean((1, 2)), torch.stack(cosines)])
        kernels = net.kernels(summary).view(2, 3, 3)
        for c in range(2):
            kernel = kernels[c] / kernels[c].norm()
            for y in range(2):
                for x in range(2):
                    patch = (s - t)[n, c, y : y + 3, x : x + 3]
                    total = total + (kernel * patch).sum() ** 2
    torch.testing.assert_close(net(f_s, f_t), total / (2 * 2 * 2 * 2))


def test_mkd_looks_one_step_ahead():
    """The meta-gradient against finite differences of: step with phi, then measure."""
    strategy = make("mkd", ahead=0.5).double()
    pupil, lr, hr = student(), numbers(1, 2, 3, 16, 16).double(), numbers(2, 2, 3, 32, 32).double()
    unit = Unit(pupil.module.double())
    unit.forward = lambda x: unit.module(x)  # float64 to the end
    known = Teacher(rlfn(), points=2)(lr.float())
    maps = [m.double() for m in known.maps]
    strategy.teacher.held = lambda _: type(known)(known.image, maps)

    def ahead():
        again = Unit(student().module.double())
        again.load_state_dict(unit.state_dict())
        _, features = with_maps(again.module, strategy.points.names, lambda: again.module(lr))
        lacking = (
            sum(
                net(features_i.double(), m)
                for net, features_i, m in zip(strategy.representations, features, maps, strict=True)
            )
            / 2
        )
        learning = list(again.parameters())
        gradients = torch.autograd.grad(lacking, learning, allow_unused=True)
        with torch.no_grad():
            for p, gradient in zip(learning, gradients, strict=True):
                if gradient is not None:
                    p -= 0.5 * gradient
        return (again.module(lr) - hr).abs().mean().item()

    value = strategy.look_ahead(unit, lr, hr)
    assert value.item() == pytest.approx(ahead(), rel=1e-5)
    value.backward()
    assert all(p.grad is None for p in unit.parameters())
    parameter = strategy.representations[1].from_student.weight
    gradient, step = parameter.grad[0, 0, 0, 0].item(), 1e-3
    parameter.data[0, 0, 0, 0] += step
    above = ahead()
    parameter.data[0, 0, 0, 0] -= 2 * step
    below = ahead()
    assert gradient != 0 and gradient == pytest.approx((above - below) / (2 * step), rel=0.05)


def test_mkds_student_cannot_bend_the_question(seen):
    strategy = make("mkd")
    for maps in seen.student_maps:
        maps.requires_grad_()
    strategy.knowledge(seen).backward()
    assert all(p.grad is None for p in strategy.representations.parameters())
    assert seen.student_maps[0].grad.abs().sum() > 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_loss_is_reconstruction_plus_weighted_knowledge(name):
    pupil = student()
    strategies = [make(name, weight=w, reconstruction=Reconstruction({"l2": 1.0})) for w in (0, 2)]
    unit, lr, hr = Unit.of(pupil), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)
    without, with_knowledge = (s(unit, lr, hr, 0.0) for s in strategies)
    strategy = strategies[1]
    known = strategy.teacher.held(lr)
    image, maps = with_maps(unit.module, strategy.points.names, lambda: unit(lr))
    knowledge = strategy.knowledge(Seen(lr, hr, image, maps[-2:], known.image, known.maps[-2:]))
    if name != "mkd":  # it looks ahead besides
        torch.testing.assert_close(without, (image - hr).square().mean())
    torch.testing.assert_close(with_knowledge - without, 2 * knowledge, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_stop_changes_nothing_and_nothing_of_it_is_deployed(name, cache, tmp_path):
    schedule = Schedule(steps=4, batch=2, patch=16, warm_up=1)

    def run(folder, steps, report=lambda p: None):
        pupil = student()
        before = [n for n, _ in pupil.module.named_parameters()]
        goal = make(name) if name != "mkd" else make(name, period=3)
        end = train(pupil, cache, tmp_path / folder, schedule, objective=goal, every=steps,
                    report=report, engine=Engine(device="cpu"))  # fmt: skip
        assert [n for n, _ in end.named_parameters()] == before
        return end.state_dict()

    class StopError(Exception):
        pass

    def stop(progress):
        if progress.step == 2:
            raise StopError

    whole = run("whole", 4)
    with pytest.raises(StopError):
        run("parts", 2, stop)
    resumed = run("parts", 2)
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)
    state = torch.load(tmp_path / "whole" / "state.pt", weights_only=True)
    assert not [n for n in state["objective"] if n.startswith("teacher")]


def test_points_are_the_ends_of_equal_parts_of_the_trunk():
    assert choose_points(create("rlfn-x2"), 3).names == ("blocks.1", "blocks.3", "blocks.5")
    assert choose_points(create("rlfn-x2"), 3).channels == (52, 52, 52)
    plain = choose_points(create("plain-s-x2"), 2)
    assert plain.names[-1] == "body.4" and plain.channels == (16, 16)
    assert choose_points(student(), 9).names == ("body.0", "body.1", "body.2")


def test_probing_leaves_a_network_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    module.eval()
    before = {n: v.clone() for n, v in module.state_dict().items()}
    choose_points(Network(module, "norm", 1), 1)
    assert not module.training and not module[0]._forward_hooks
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())
    with pytest.raises(UsageError, match="no list of blocks"):
        choose_points(Network(nn.Upsample(scale_factor=2), "nearest", 2), 1)


def test_maps_of_the_teacher_have_size_1_and_answers_are_remembered():
    lr = torch.rand(2, 3, 16, 16)
    known = Teacher(rlfn())(lr)
    assert [m.square().mean().item() for m in known.maps] == pytest.approx([1] * 3, rel=1e-4)
    teacher = Teacher(rlfn(), remember=1)
    first, again = teacher(lr), teacher(lr.clone())
    assert torch.equal(first.image, again.image) and torch.equal(first.maps[0], again.maps[0])
    assert first.image.sub(known.image).abs().max() <= 2**-8
    calls = []
    teacher._answer = lambda x: calls.append(1) or known
    teacher(lr)
    assert not calls
    teacher(lr + 0.1)
    assert calls


def test_an_rgb_teacher_shows_luma_students_grey_pictures():
    torch.manual_seed(0)
    pupil = create("espcn-x2")
    teacher = Teacher(rlfn())
    teacher.check(pupil)
    y = torch.rand(1, 1, 16, 16)
    rgb = Unit(teacher.network.module, 255.0)(y.expand(-1, 3, -1, -1))
    torch.testing.assert_close(teacher(y).image, rgb.mean(1, keepdim=True))


def test_teachers_that_cannot_teach():
    with pytest.raises(UsageError, match="enlarges by 4, the student `student` by 2; `tas`"):
        STRATEGIES["output"](student(), Teacher(rlfn(scale=4)))
    with pytest.raises(UsageError, match="sees only luma"):
        STRATEGIES["output"](student(), Teacher(create("sesr-m5-x2")))
    with pytest.raises(UsageError, match="must have the scale and colour"):
        make("tas", assistant=Network(Plain(4), "other", 4))


def test_every_strategy_has_a_paper_and_teaches(cache):
    """With knowledge alone, a few steps bring the student nearer to the teacher's knowledge."""
    for name, kind in STRATEGIES.items():
        assert kind.title
        if name == "mkd":
            continue  # what it asks changes with what it learns
        pupil, goal = student(), make(name, reconstruction=Reconstruction({"l1": 0.0}, 2.0))
        unit = Unit.of(pupil)
        lr, _ = cache.batch(0, 3, 16)
        hr = goal.teacher.held(lr).image  # so that it knows better on every patch
        learning = [*unit.parameters(), *goal.parameters()]
        optimizer = torch.optim.Adam(learning, lr=3e-3)

        def lacking(goal=goal, unit=unit, lr=lr, hr=hr):
            known = goal.teacher.held(lr)
            image, maps = with_maps(unit.module, goal.points.names, lambda: unit(lr))
            maps = [maps[i] for i in goal.pairs]
            return goal.knowledge(Seen(lr, hr, image, maps, known.image, known.maps)).item()

        before = lacking()
        for _ in range(12):
            optimizer.zero_grad()
            goal(unit, lr, hr, 0.0).backward()
            optimizer.step()
        assert math.isfinite(before) and lacking() < before, name
