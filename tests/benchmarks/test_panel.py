import numpy as np
from edgesr.benchmarks.panel import amplified_difference, busiest_crop, panel


def test_difference_is_amplified_and_clipped():
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0] = 3
    b[1, 1] = 200
    shown = amplified_difference(a, b)
    assert shown[0, 0, 0] == 24 and shown[1, 1, 0] == 255 and shown[0, 1, 0] == 0


def test_the_busiest_crop_is_where_the_texture_is():
    image = np.full((120, 160, 3), 90, np.uint8)
    image[60:100, 80:120] = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    y, x = busiest_crop(image, 40)
    assert abs(y - 60) <= 10 and abs(x - 80) <= 10


def test_a_panel_shows_every_picture_unchanged():
    red = np.full((30, 40, 3), (250, 0, 0), np.uint8)
    blue = np.full((30, 40, 3), (0, 0, 250), np.uint8)
    sheet = panel([{"red": red, "blue": blue}, {"blue": blue}], zoom=2)
    assert (sheet == (250, 0, 0)).all(axis=2).sum() == red.size // 3 * 4
    assert (sheet == (0, 0, 250)).all(axis=2).sum() == 2 * blue.size // 3 * 4
