"""The PixelRNNs of van den Oord et al. (2016) in numpy, pixel by pixel.

A condition is a function of a place, (row, column) -> vector, or None without one.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy_layers import convolve, dense, layers, relu
from scipy import special


def cell(z, c):
    """Equation 3, gate by gate."""
    o, f, i, g = np.split(z, 4)
    c = special.expit(f) * c + special.expit(i) * np.tanh(g)
    return c, special.expit(o) * np.tanh(c)


def at(states, r, c, size):
    """A state, or zeros outside the picture."""
    return states.get((r, c), np.zeros(size))


def from_condition(params, condition, r, c):
    """What a condition adds to all gates of a layer (section 3.6)."""
    return 0 if condition(r, c) is None else condition(r, c) @ params["from_condition"]["kernel"]


def input_maps(params, x_HWn):
    """7x7 convolution with mask A; one column more than the picture has, which only the Diagonal BiLSTM uses."""
    height, width, channels = x_HWn.shape
    W, maps = params["mix"]["kernel"].reshape(24, channels, -1), {}
    offsets = [(dy, dx) for dy in range(-3, 1) for dx in range(-3, 4) if dy < 0 or dx < 0]
    for r in range(height):
        for c in range(width + 1):
            maps[r, c] = params["mix"]["bias"].copy()
            for k, (dy, dx) in enumerate(offsets):
                if r + dy >= 0 and 0 <= c + dx < width:
                    maps[r, c] += x_HWn[r + dy, c + dx] @ W[k]
    return maps


def row_lstm_layer(params, maps, condition, height, width):
    """Row by row: two pixels of the map below, three states of the row above."""
    size = len(params["bias"]) // 4
    K_is, K_ss = params["input_to_state"]["mix"]["kernel"].reshape(2, 2 * size, -1), params["state_to_state_kernel"]
    cells, states = {}, {}
    for r in range(height):
        for c in range(width):
            z = params["bias"] + from_condition(params, condition, r, c) + maps[r, c] @ K_is[1]
            if c > 0:
                z = z + maps[r, c - 1] @ K_is[0]
            above = np.concatenate([at(states, r - 1, c + dx, size) for dx in (-1, 0, 1)])
            cells[r, c], states[r, c] = cell(z + above @ K_ss, at(cells, r - 1, c, size))
    return states


def one_direction(params, d, maps, condition, height, columns):
    """From the left (d = 0) or from the right (d = 1): the state before it in the row, and the one above it."""
    K_is, K_ss = np.split(params["input_to_state"]["kernel"], 2, 1)[d], params["state_to_state_kernel"][d]
    step, size, cells, states = (1, -1)[d], K_ss.shape[0] // 2, {}, {}
    own = slice(d * 4 * size, (d + 1) * 4 * size)
    for r in range(height):
        for c in range(columns)[::step]:
            added = np.zeros(8 * size) + from_condition(params, condition, r, c)
            z = params["bias"][d] + added[own] + maps[r, c] @ K_is
            read = np.concatenate([at(states, r, c - step, size), at(states, r - 1, c, size)])
            cells[r, c], states[r, c] = cell(z + read @ K_ss, at(cells, r, c - step, size))
    return states


def diagonal_layer(params, maps, condition, height, width):
    """States from the left, and from the right, those shifted down by one row; with a column of margin."""
    left, right = (one_direction(params, d, maps, condition, height, width + 1) for d in (0, 1))
    return {(r, c): left[r, c] + at(right, r - 1, c, len(left[r, c])) for r, c in left}


def pixel_rnn(params, layer, x_HWn, condition):
    """Features [H, W, F] of one picture: residual layers, each also sent to the output; then relu and 1x1 twice."""
    height, width, _ = x_HWn.shape
    maps, to_output = input_maps(params["input"], x_HWn), {}
    for own in layers(params):
        for place, state in layer(own, maps, condition, height, width).items():
            up, out = np.split(dense(own["up"], state), 2)
            maps[place] = maps[place] + up
            to_output[place] = to_output.get(place, 0) + out
    features = np.empty((height, width, params["out"]["bias"].size))
    for r, c in np.ndindex(height, width):
        y = maps[r, c] + to_output[r, c]
        for name in ("hidden_0", "hidden_1", "out"):
            y = dense(params[name], relu(y))
        features[r, c] = y
    return features


def upsampled(params, x_HWn, grid, factor):
    """Convolutions and relu on the coarse picture, then f x f pixels of each coarse one, and relu (section 3.6)."""
    h, around = x_HWn, list(itertools.product((-1, 0, 1), repeat=2))
    for i in range(len(params) - 1):
        h = relu(convolve(params[f"conv_{i}"], h, around))
    blocks = convolve(params["deconv"], h, around)
    maps = np.empty((*grid, blocks.shape[-1] // factor**2))
    for r, c in np.ndindex(grid):
        block = blocks[r // factor, c // factor].reshape(factor, factor, -1)
        maps[r, c] = relu(block[r % factor, c % factor])
    return maps
