"""A real llama.cpp server, with a model of half a megabyte whose weights are random.

It says nothing that means anything, but its format, its counts and its grammar are llama.cpp's own.

Usage: python llamacpp.py FILE PORT, where FILE is written; it serves until its input ends.
"""

import sys

import gguf
import numpy
import xllamacpp

WIDTH, INNER, LAYERS, HEADS = 64, 128, 2, 4
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def vocabulary():
    """Yield tokens with their kinds: the special ones, all bytes, and some letters and words."""
    yield from [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL)]
    yield from ((f"<0x{b:02X}>", gguf.TokenType.BYTE) for b in range(256))
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?{}[]\"'"
    yield from ((t, gguf.TokenType.NORMAL) for t in ["▁", *letters, "▁the", "▁a", "he", "in", "er", "an", "on"])


def write(path):
    tokens, kinds = zip(*vocabulary())
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("tiny")
    w.add_context_length(2048)
    w.add_embedding_length(WIDTH)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(INNER)
    w.add_head_count(HEADS)
    w.add_head_count_kv(HEADS)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(len(tokens))
    w.add_tokenizer_model("llama")
    w.add_token_list(list(tokens))
    w.add_token_scores([-float(i) for i in range(len(tokens))])
    w.add_token_types(list(kinds))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(True)
    w.add_chat_template(TEMPLATE)
    random = numpy.random.default_rng(7)
    shapes = {"token_embd": (len(tokens), WIDTH), "output": (len(tokens), WIDTH), "output_norm": WIDTH}
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.attn_{n}": (WIDTH, WIDTH) for n in ("q", "k", "v", "output")}
        shapes |= {f"blk.{i}.ffn_gate": (INNER, WIDTH), f"blk.{i}.ffn_up": (INNER, WIDTH), f"blk.{i}.ffn_down": (WIDTH, INNER)}
        shapes |= {f"blk.{i}.attn_norm": WIDTH, f"blk.{i}.ffn_norm": WIDTH}
    for name, shape in shapes.items():
        values = numpy.ones(shape) if name.endswith("norm") else random.standard_normal(shape) * 0.3
        if name == "output":
            values[2] = 0  # </s>, which greed never chooses unless a grammar leaves nothing else
        w.add_tensor(name + ".weight", values.astype(numpy.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


write(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path, params.model_alias, params.port = sys.argv[1], {"tiny"}, int(sys.argv[2])
params.n_ctx, params.n_parallel, params.use_jinja, params.warmup = 2048, 2, True, False
params.sampling.temp = 0  # the same words in each run
server = xllamacpp.Server(params)
print("listening on " + server.listening_address, flush=True)
sys.stdin.read()
