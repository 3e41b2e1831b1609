import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_translators import SMALL, VARIANTS, network, sentences

from components.core.tasks.translation.attention import Attention, causal_mask
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.losses import token_cross_entropy_sum
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.ssru import SSRU, linear_recurrence


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_a_linear_recurrence_equals_its_loop(length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    factors, terms = torch.rand(2, 3, length, 5, generator=generator, dtype=torch.float64)
    factors = torch.where(torch.rand(factors.shape, generator=generator) < 0.2, 0, factors)  # some forget everything
    cell, expected = torch.zeros(3, 5, dtype=torch.float64), []
    for step in range(length):
        cell = factors[:, step] * cell + terms[:, step]
        expected.append(cell)
    torch.testing.assert_close(linear_recurrence(factors, terms), torch.stack(expected, dim=1))


def test_ssru_equals_its_equations_in_numpy_loops() -> None:
    torch.manual_seed(1)
    cell = SSRU(6).double()
    states = torch.randn(2, 9, 6, dtype=torch.float64)
    forget, bias, candidate = (
        p.detach().numpy() for p in (cell.forget.weight, cell.forget.bias, cell.candidate.weight)
    )
    for number, row in enumerate(states.numpy()):
        c = np.zeros(6)
        for step, x in enumerate(row):
            keep = 1 / (1 + np.exp(-(forget @ x + bias)))
            c = keep * c + (1 - keep) * (candidate @ x)
            np.testing.assert_allclose(cell(states)[number, step].detach().numpy(), np.maximum(c, 0), rtol=1e-9)


def test_attention_equals_loops_over_rows_heads_and_queries() -> None:
    torch.manual_seed(2)
    part = Attention(8, 2, 4).double().requires_grad_(False)
    queries, states = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    hidden = [[0.0] * 5, [0.0, 0.0, -1e9, -1e9, -1e9]]
    given = part(queries, *part.keys_values(states), torch.tensor(hidden, dtype=torch.float64)[:, None, None])
    q, k, v = part.query(queries), part.key(states), part.value(states)
    for row in range(2):
        seen = 5 if row == 0 else 2
        for query in range(3):
            heads = []
            for head in (slice(0, 4), slice(4, 8)):
                scores = [float(q[row, query, head] @ k[row, key, head]) / math.sqrt(4) for key in range(seen)]
                weights = [math.exp(score) / sum(math.exp(other) for other in scores) for score in scores]
                heads.append(sum(weight * v[row, key, head] for key, weight in enumerate(weights)))
            torch.testing.assert_close(given[row, query], part.output(torch.cat(heads)))


def test_a_causal_mask_hides_what_comes_later() -> None:
    assert (causal_mask(3) == 0).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_steps_give_the_logits_of_the_whole_target(config: EncoderDecoderConfig) -> None:
    module = network(config)
    source, target = sentences([6, 3, 5], config.source_size), sentences([4, 7, 2], config.target_size, seed=1)
    with torch.no_grad():
        expected = module(source, target)
        states, mask = module.encode(source)
        fixed, past = module.source_keys_values(states), module.first_past(3)
        previous = torch.full((3,), 5)  # before the first piece it does not matter which
        for position in range(target.shape[1]):
            logits, past = module.step(previous, torch.full((3,), position), mask, fixed, past)
            torch.testing.assert_close(logits, expected[:, position], rtol=1e-4, atol=1e-5)
            previous = target[:, position]


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_padding_changes_nothing(config: EncoderDecoderConfig) -> None:
    module = network(config)
    lengths, targets = [6, 3, 9], [4, 7, 2]
    source, target = sentences(lengths, config.source_size), sentences(targets, config.target_size, seed=1)
    with torch.no_grad():
        together = module(source, target)
        for row, (length, pieces) in enumerate(zip(lengths, targets, strict=True)):
            alone = module(source[row : row + 1, :length], target[row : row + 1, :pieces])
            torch.testing.assert_close(together[row : row + 1, :pieces], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_a_piece_sees_only_the_pieces_before_it(config: EncoderDecoderConfig) -> None:
    module = network(config)
    source, target = sentences([5], config.source_size), sentences([6], config.target_size, seed=1)
    changed = target.clone()
    changed[:, 3] = target[:, 3] % (config.target_size - 1) + 1
    with torch.no_grad():
        before, after = module(source, target), module(source, changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_the_loss_of_a_padded_batch_is_the_sum_over_its_sentences() -> None:
    module, lengths, targets = network(SMALL), [6, 3, 9], [4, 7, 2]
    source, target = sentences(lengths, 19), sentences(targets, 19, seed=1)
    weight = torch.arange(7) < torch.tensor(targets)[:, None]
    together = token_cross_entropy_sum(module(source, target), target, weight, smoothing=0.1)
    alone = []
    for row, (length, pieces) in enumerate(zip(lengths, targets, strict=True)):
        logits = module(source[row : row + 1, :length], target[row : row + 1, :pieces])[0].double()
        log_p = logits - logits.exp().sum(-1, keepdim=True).log()
        for step, piece in enumerate(target[row, :pieces]):
            smoothed = torch.full((19,), 0.1 / 19, dtype=torch.float64)
            smoothed[piece] += 0.9
            alone.append(-(smoothed * log_p[step]).sum())
    torch.testing.assert_close(together.double(), torch.stack(alone).sum(), rtol=1e-5, atol=1e-5)


def test_padding_gets_no_gradient() -> None:
    logits = torch.randn(1, 3, 5, requires_grad=True)
    token_cross_entropy_sum(logits, torch.tensor([[1, 0, 0]]), torch.tensor([[True, True, False]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, :2].abs().min() > 0
    assert (logits.grad[0, 2] == 0).all()


def test_a_tied_matrix_is_stored_once() -> None:
    names = [name for name, value in network(SMALL).state_dict().items() if 19 in value.shape]
    assert names == ["output_bias", "source_embedding.weight"]


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_a_config_counts_the_parameters_of_its_network(config: EncoderDecoderConfig) -> None:
    assert config.num_parameters == sum(parameter.numel() for parameter in network(config).parameters())


def test_a_network_learns_to_copy() -> None:
    torch.manual_seed(0)
    config = replace(SMALL, source_size=12, target_size=12, decoder_layers=1, encoder_layers=1, dim=32)
    module = EncoderDecoder(config)
    optimizer = torch.optim.AdamW(module.parameters(), 0.01)
    for step in range(150):
        source = sentences([4] * 32, 12, seed=step)
        loss = token_cross_entropy_sum(module(source, source), source, torch.ones_like(source, dtype=torch.bool))
        optimizer.zero_grad()
        (loss / source.numel()).backward()
        optimizer.step()
    unseen = sentences([4] * 16, 12, seed=10_000)
    assert (module(unseen, unseen).argmax(-1) == unseen).float().mean() > 0.95


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decoder_cell": "lstm"}, "decoder_cell must be one of attention, ssru; got 'lstm'"),
        ({"dim": 18}, "multiple of heads"),
        ({"target_size": 20}, "source_size is 19, target_size 20"),
        ({"eos": 19}, "eos is piece 19"),
        ({"never": (40,)}, "never is piece 40"),
        ({"encoder_layers": 0}, "encoder_layers must be a whole number in 1..200, got 0"),
        ({"dim": "256"}, "dim must be a whole number"),
        ({"epsilon": 0.0}, "epsilon must be in"),
    ],
)
def test_an_impossible_config_is_refused_by_the_value(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **changes)


def test_a_config_survives_json_and_refuses_what_it_does_not_know() -> None:
    config = replace(SMALL, never=(3,), start=2)
    assert EncoderDecoderConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown field 'hidden'"):
        EncoderDecoderConfig.from_json({**config.to_json(), "hidden": 1})
    with pytest.raises(ValueError, match="target_size is missing"):
        EncoderDecoderConfig.from_json({"source_size": 4})
