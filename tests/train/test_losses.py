"""Losses against values computed by hand or by another road."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgesr.errors import SizeMismatchError
from edgesr.metrics.psnr import Protocol
from edgesr.metrics.psnr import psnr as metric_psnr
from edgesr.metrics.ssim import ssim as metric
from edgesr.train.losses import LOSSES, Contrastive, charbonnier, dct, fft, l1, l2, psnr, ssim
from edgesr.train.objective import Reconstruction
from edgesr.train.unit import Unit


@pytest.fixture
def pair(rng):
    hr = rng.random((2, 3, 24, 16))
    sr = hr + 0.1 * rng.standard_normal(hr.shape)
    return torch.from_numpy(sr).float(), torch.from_numpy(hr).float()


def test_pixels_by_hand():
    sr = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
    hr = torch.tensor([[[[0.0, 0.1], [0.7, 0.25]]]])
    assert l1(sr, hr) == pytest.approx((0.4 + 0.3) / 4)
    assert l2(sr, hr) == pytest.approx((0.16 + 0.09) / 4)
    by_hand = (0.1 + math.hypot(0.4, 0.1) + math.hypot(0.3, 0.1) + 0.1) / 4
    assert charbonnier(sr, hr, epsilon=0.1) == pytest.approx(by_hand)


def test_charbonnier_is_round_at_the_bottom():
    sr = torch.zeros(1, 1, 1, 1, requires_grad=True)
    charbonnier(sr, torch.zeros(1, 1, 1, 1)).backward()
    assert sr.grad.item() == 0 and charbonnier(sr, sr).item() == pytest.approx(1e-3)


def test_psnr_by_hand_and_as_the_metric(pair):
    sr, hr = pair
    # Y of BT.601 of a red that is 0.5 too bright: 0.5 * 65.481 / 255.
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 0.5
    by_hand = 20 * math.log10(0.5 * 65.481 / 255)
    assert psnr(red, torch.zeros(1, 3, 4, 4), floor=0) == pytest.approx(by_hand, abs=1e-4)
    grey = torch.full((2, 1, 4, 4), 0.5)
    target = torch.stack([grey[0] - 0.1, grey[1] - 0.01])
    assert psnr(grey, target, floor=0) == pytest.approx((-20 - 40) / 2, abs=1e-4)
    floored = (10 * math.log10(1e-2 + 1e-4) + 10 * math.log10(1e-4 + 1e-4)) / 2
    assert psnr(grey, target) == pytest.approx(floored, abs=1e-4)
    images = [(side * 255).round().clamp(0, 255).byte() for side in (sr, hr)]
    values = [
        metric_psnr(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), 0)
        for a, b in zip(*images, strict=True)
    ]
    ours = psnr(*(image.float() / 255 for image in images), floor=0)
    assert -ours == pytest.approx(np.mean(values), abs=0.01)


def test_psnr_counts_a_good_image_no_less_than_a_bad_one():
    """A tenth less error is worth the same in both, where L2 sees only the bad one."""
    error = torch.tensor([0.1, 0.02])[:, None, None, None].expand(2, 1, 4, 4).clone()
    error.requires_grad_()
    psnr(error, torch.zeros(2, 1, 4, 4), floor=0).backward()
    bad, good = (error.grad * error.detach()).sum((1, 2, 3))
    assert bad == pytest.approx(good.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        rgb = torch.full((1, 3, 4, 4), 0.001)
        rounded = psnr(1 + rgb, torch.ones(1, 3, 4, 4), floor=0)
    assert rounded == pytest.approx(20 * math.log10(0.001 * 219 / 255), abs=0.01)


def test_ssim_is_the_metric(pair):
    """Window by window, as equation 13 reads."""
    sr, hr = (side[:1, :1].double() for side in pair)
    offset = np.arange(11) - 5
    line = np.exp(-(offset**2) / 4.5)
    window = np.outer(line, line) / line.sum() ** 2
    a, b = sr[0, 0].numpy(), hr[0, 0].numpy()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            above = (2 * mp * mq + 0.01**2) * (2 * cov + 0.03**2)
            values.append(above / ((mp**2 + mq**2 + 0.01**2) * (vp + vq + 0.03**2)))
    assert ssim(sr, hr) == pytest.approx(1 - np.mean(values), abs=1e-9)
    assert ssim(hr, hr) == pytest.approx(0, abs=1e-6)


def test_ssim_agrees_with_the_reported_figure(noise, scene):
    image = scene[:36, :48]
    mixed = ((image.astype(int) * 3 + noise) // 4).astype(np.uint8)
    protocol = Protocol(colour="RGB", shave=0)
    planes = [torch.from_numpy(i).permute(2, 0, 1)[None].double() / 255 for i in (mixed, image)]
    assert ssim(*planes) == pytest.approx(1 - metric(mixed, image, 2, protocol), abs=1e-6)


def test_fft_by_hand():
    """A difference of one cosine of amplitude 1: two coefficients of sqrt(N)/2, all else zero."""
    n = 8
    wave = torch.cos(2 * math.pi * 2 * torch.arange(n) / n).expand(1, 1, n, n)
    # rfft2 keeps columns 0 to n/2; the wave is in row 0, column 2: n/2 in its real part.
    kept = n * (n // 2 + 1) * 2
    assert fft(wave, torch.zeros_like(wave)) == pytest.approx(n / 2 / kept, abs=1e-6)


def test_fft_is_the_transform_of_each(pair):
    sr, hr = pair
    spectra = [np.fft.rfft2(side.double().numpy(), norm="ortho") for side in pair]
    difference = spectra[0] - spectra[1]
    by_hand = (np.abs(difference.real).mean() + np.abs(difference.imag).mean()) / 2
    assert fft(sr, hr) == pytest.approx(by_hand, rel=1e-5)


def test_dct_by_hand(pair):
    """JPEG's formula, coefficient by coefficient."""
    sr, hr = pair
    tile = (sr - hr)[0, 0, 8:16, :8].double().numpy()
    total = 0.0
    for u in range(8):
        for v in range(8):
            c = (math.sqrt(0.5) if u == 0 else 1) * (math.sqrt(0.5) if v == 0 else 1)
            cosines = [
                [
                    math.cos((2 * i + 1) * u * math.pi / 16)
                    * math.cos((2 * j + 1) * v * math.pi / 16)
                    for j in range(8)
                ]
                for i in range(8)
            ]
            total += abs(c / 4 * (tile * np.array(cosines)).sum())
    one = dct(sr[:1, :1, 8:16, :8], hr[:1, :1, 8:16, :8])
    assert one == pytest.approx(total / 64, rel=1e-5)
    tiles = [
        dct(sr[..., y : y + 8, x : x + 8], hr[..., y : y + 8, x : x + 8])
        for y in (0, 8, 16)
        for x in (0, 8)
    ]
    assert dct(sr, hr) == pytest.approx(float(torch.stack(tiles).mean()), rel=1e-5)


def test_dct_says_which_sizes_it_takes():
    with pytest.raises(SizeMismatchError, match="blocks of 8; 12x16 does not divide"):
        dct(torch.zeros(1, 1, 16, 12), torch.zeros(1, 1, 16, 12))


def test_contrastive_is_its_equation(rng):
    loss = Contrastive(channels=4)
    lr = torch.from_numpy(rng.random((1, 3, 6, 6))).float()
    sr, hr = (torch.from_numpy(rng.random((1, 3, 12, 12))).float() for _ in range(2))

    def phi(image):
        first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        first.weight.data, second.weight.data = loss.first, loss.second
        return nn.Sequential(first, nn.Tanh(), second)(image)

    bicubic = F.interpolate(lr, scale_factor=2, mode="bicubic").clamp(0, 1)
    near = (phi(sr) - phi(hr)).abs().sum()
    far = (phi(sr) - phi(bicubic)).abs().sum()
    assert loss(sr, hr, lr) == pytest.approx((near / far).item(), rel=1e-5)
    assert loss(hr, hr, lr) == 0


def test_the_contrastive_extractor_is_random_once_and_never_learns():
    torch.manual_seed(1)
    one = Contrastive()
    torch.manual_seed(2)
    two = Contrastive()
    assert torch.equal(one.first, two.first) and torch.equal(one.second, two.second)
    assert not list(one.parameters()) and not one.state_dict()
    assert one.first.std() == pytest.approx(math.sqrt(2 / 27), rel=0.1)


def test_every_loss_has_a_gradient_and_takes_luma(pair):
    lr = torch.rand(2, 1, 12, 8)
    for name, make in LOSSES.items():
        sr = pair[0][:, :1].clone().requires_grad_()
        make()(sr, pair[1][:, :1], lr).backward()
        assert torch.isfinite(sr.grad).all() and sr.grad.abs().sum() > 0, name


def test_reconstruction_weighs_and_then_squares(pair):
    _, hr = pair
    student = Unit(nn.Upsample(scale_factor=2))
    lr = F.avg_pool2d(hr, 2)
    goal = Reconstruction({"l1": 0.5, "fft": 2.0}, squared_from=0.5)
    out = student(lr)
    assert goal(student, lr, hr, 0.49) == pytest.approx(float(0.5 * l1(out, hr) + 2 * fft(out, hr)))
    assert goal(student, lr, hr, 0.5) == pytest.approx(25 * float(l2(out, hr)))
