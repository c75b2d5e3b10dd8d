"""Writes a llama model of some 100 KiB with random weights: real answers of a real server, without any sense.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import random
import struct
from pathlib import Path
from typing import NamedTuple

_ALIGNMENT = 32
_EMBEDDING, _HEADS, _FEED_FORWARD, _BLOCKS, _CONTEXT = 64, 4, 128, 2, 131072
_U32, _F32_VALUE, _STRING, _ARRAY, _I32 = 4, 6, 8, 9, 5
_F32_TENSOR = 0
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]  # the fastest dimension first
    values: bytes


def write_tiny_model(path: Path, seed: int = 1) -> Path:
    """Write the model; the same seed gives the same bytes."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *(chr(code) for code in range(97, 123)),
    ]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * 26]
    keys = [
        _text("general.architecture", "llama"),
        _text("general.name", "tiny-random"),
        _u32("llama.context_length", _CONTEXT),
        _u32("llama.embedding_length", _EMBEDDING),
        _u32("llama.block_count", _BLOCKS),
        _u32("llama.feed_forward_length", _FEED_FORWARD),
        _u32("llama.attention.head_count", _HEADS),
        _f32("llama.attention.layer_norm_rms_epsilon", 1e-5),
        _u32("llama.rope.dimension_count", _EMBEDDING // _HEADS),
        _u32("llama.vocab_size", len(words)),
        _text("tokenizer.ggml.model", "llama"),
        _strings("tokenizer.ggml.tokens", words),
        _numbers("tokenizer.ggml.scores", _F32_VALUE, "f", [0.0] * len(words)),
        _numbers("tokenizer.ggml.token_type", _I32, "i", kinds),
        _u32("tokenizer.ggml.unknown_token_id", 0),
        _u32("tokenizer.ggml.bos_token_id", 1),
        _u32("tokenizer.ggml.eos_token_id", 2),
    ]
    tensors = _tensors(random.Random(seed), len(words))
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys))
    data = bytearray()
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head += _string(tensor.name) + shape + struct.pack("<IQ", _F32_TENSOR, len(data))
        data += _padded(tensor.values)
    path.write_bytes(_padded(bytes(head)) + data)
    return path


def _tensors(source: random.Random, vocabulary: int) -> list[_Tensor]:
    def weights(name: str, *shape: int) -> _Tensor:
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        flat = struct.pack(f"<{count}f", *(source.gauss(0, 0.2) for _ in range(count)))
        return _Tensor(f"{name}.weight", shape, flat)

    def ones(name: str) -> _Tensor:
        return _Tensor(f"{name}.weight", (_EMBEDDING,), struct.pack(f"<{_EMBEDDING}f", *[1.0] * _EMBEDDING))

    made = [
        weights("token_embd", _EMBEDDING, vocabulary),
        ones("output_norm"),
        weights("output", _EMBEDDING, vocabulary),
    ]
    for number in range(_BLOCKS):
        made += [ones(f"blk.{number}.attn_norm"), ones(f"blk.{number}.ffn_norm")]
        made += [weights(f"blk.{number}.attn_{part}", _EMBEDDING, _EMBEDDING) for part in ("q", "k", "v", "output")]
        made += [weights(f"blk.{number}.ffn_{part}", _EMBEDDING, _FEED_FORWARD) for part in ("gate", "up")]
        made.append(weights(f"blk.{number}.ffn_down", _FEED_FORWARD, _EMBEDDING))
    return made


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGNMENT)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", _STRING) + _string(value)


def _u32(key: str, value: int) -> bytes:
    return _string(key) + struct.pack("<II", _U32, value)


def _f32(key: str, value: float) -> bytes:
    return _string(key) + struct.pack("<If", _F32_VALUE, value)


def _strings(key: str, values: list[str]) -> bytes:
    return _string(key) + struct.pack("<IIQ", _ARRAY, _STRING, len(values)) + b"".join(map(_string, values))


def _numbers(key: str, kind: int, code: str, values: list[float] | list[int]) -> bytes:
    return (
        _string(key) + struct.pack("<IIQ", _ARRAY, kind, len(values)) + struct.pack(f"<{len(values)}{code}", *values)
    )
