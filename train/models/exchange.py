"""CFAM's messages and InterFIT's interactions: tokens that frames exchange in every layer of the encoder.

Each module serves one layer and maps the class tokens of a unit's frames to one more token per frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.models.attention import Attention
from train.models.precision import LayerNorm


class MessageExchange(nn.Module):
    """DK-CLIP's message tokens of one layer (CFAM, eq. 3): ``m + MHSA(LN(m))`` within the snippet.

    m is a linear map of the class tokens.

    Args:
        width: D.
        heads: Heads of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.message = nn.Linear(width, width)
        self.norm = LayerNorm(width)
        self.attention = Attention(width, heads)

    def forward(self, class_tokens: Tensor) -> Tensor:
        """Class tokens ``(B, U, D)`` of a snippet to message tokens ``(B, U, D)``."""
        message: Tensor = self.message(class_tokens)
        mixed: Tensor = self.attention(self.norm(message))
        return message + mixed


class BiLstm(nn.Module):
    """A bidirectional LSTM that exports as plain products, the batch dynamic.

    Exported graphs have the T steps written out, both directions in one product: no loop and no recurrent
        operator for a
    back end to lack.

    Args:
        width: Width of the input and of each direction.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, width)`` to ``(B, T, 2 * width)``: forward, then backward direction."""
        if x.is_meta or torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            return self.unrolled(x)
        out: Tensor = self.lstm(x)[0]
        return out

    def unrolled(self, x: Tensor) -> Tensor:
        """The same, step by step."""
        steps = x.shape[1]
        names = [
            f"{kind}_l0{way}" for way in ("", "_reverse") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        weights: dict[str, Tensor] = {name: self.lstm.get_parameter(name) for name in names}
        ahead = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        back = weights["bias_ih_l0_reverse"] + weights["bias_hh_l0_reverse"]
        forward = nn.functional.linear(x, weights["weight_ih_l0"], ahead)  # [B, T, 4H]
        backward = nn.functional.linear(x, weights["weight_ih_l0_reverse"], back)
        # [2, H, 4H]
        recurrent = torch.stack([weights["weight_hh_l0"].t(), weights["weight_hh_l0_reverse"].t()])
        outputs: list[Tensor] = []  # [2, B, H] each; the backward direction starts at the newest frame
        cell = hidden = None
        for t in range(steps):
            gates = torch.stack([forward[:, t], backward[:, steps - 1 - t]])  # [2, B, 4H]
            if hidden is not None:
                gates = gates + hidden @ recurrent
            enter, forget, candidate, leave = gates.chunk(4, dim=-1)
            fresh = torch.sigmoid(enter) * torch.tanh(candidate)
            cell = fresh if cell is None else torch.sigmoid(forget) * cell + fresh
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            outputs.append(hidden)
        pairs = [torch.cat([outputs[t][0], outputs[steps - 1 - t][1]], dim=-1) for t in range(steps)]
        return torch.stack(pairs, dim=1)


class InteractionExchange(nn.Module):
    """CLIP-Guided's interaction tokens of one layer (InterFIT, eq. 2): ``I + MHSA(LN(Linear(BiLSTM(I))))``.

    I is a linear map of the class tokens.

    Args:
        width: D.
        heads: Heads of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.interaction = nn.Linear(width, width)
        self.recurrent = BiLstm(width)
        self.join = nn.Linear(2 * width, width)
        self.norm = LayerNorm(width)
        self.attention = Attention(width, heads)

    def forward(self, class_tokens: Tensor) -> Tensor:
        """Class tokens ``(B, T, D)`` to interaction tokens ``(B, T, D)``."""
        interaction: Tensor = self.interaction(class_tokens)
        mixed: Tensor = self.attention(self.norm(self.join(self.recurrent(interaction))))
        return interaction + mixed
