"""Vision transformers written out as products and sums on a state dict: nothing of timm, of torch's modules or of the house."""

import math

import torch


def linear(state, name, x):
    """Return a linear map by the name of its weight and bias."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state, name, x, eps=1e-6):
    """Return a layer norm."""
    mean = x.mean(-1, keepdim=True)
    deviation = ((x - mean).square().mean(-1, keepdim=True) + eps).sqrt()
    return (x - mean) / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x):
    """Return the exact GELU."""
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attention(q, k, v, heads):
    """Return multi-head attention `(B, N, E)`."""
    b, n, width = q.shape
    parts = [t.reshape(b, t.shape[1], heads, width // heads).transpose(1, 2) for t in (q, k, v)]
    weights = (parts[0] @ parts[1].transpose(2, 3) / math.sqrt(width // heads)).softmax(-1)
    return (weights @ parts[2]).transpose(1, 2).reshape(b, n, width)


def block(state, name, x, heads):
    """Return one block, norm first; with LayerScale where the state has it."""
    q, k, v = linear(state, f"{name}.attn.qkv", norm(state, f"{name}.norm1", x)).chunk(3, -1)
    x = x + linear(state, f"{name}.attn.proj", attention(q, k, v, heads)) * state.get(f"{name}.ls1.gamma", 1.0)
    inner = gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", x)))
    return x + linear(state, f"{name}.mlp.fc2", inner) * state.get(f"{name}.ls2.gamma", 1.0)


def patches(state, name, images):
    """Return patch tokens `(B, N, E)`: a convolution whose kernels do not overlap is a product with cut pixels."""
    weight = state[f"{name}.weight"]
    p = weight.shape[-1]
    b, c, h, w = images.shape
    cut = images.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * p)
    return cut @ weight.flatten(1).T + state[f"{name}.bias"]


def levels(state, images, heads, depth):
    """Return the tokens after each block, class token first, before the last norm."""
    x = patches(state, "patch_embed.proj", images)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1) + state["pos_embed"]
    found = []
    for i in range(depth):
        x = block(state, f"blocks.{i}", x, heads)
        found.append(x)
    return found


def masked_autoencoder(state, images, noise, *, heads=16, depth=24, decoder_heads=16, decoder_depth=8, ratio=0.75):
    """Return the prediction `(B, N, P * P * 3)` and the mask of a masked autoencoder."""
    x = patches(state, "patch_embed.proj", images) + state["pos_embed"][:, 1:]
    b, n = x.shape[:2]
    order = noise.argsort(1)
    keep = order[:, : int(n * (1 - ratio))]
    mask = torch.ones(b, n)
    mask.scatter_(1, keep, 0.0)
    x = torch.stack([x[i, keep[i]] for i in range(b)])
    x = torch.cat([(state["cls_token"] + state["pos_embed"][:, :1]).expand(b, -1, -1), x], 1)
    for i in range(depth):
        x = block(state, f"blocks.{i}", x, heads)
    x = linear(state, "decoder_embed", norm(state, "norm", x))
    places = state["mask_token"].expand(b, n, -1).clone()
    for i in range(b):
        places[i, keep[i]] = x[i, 1:]
    x = torch.cat([x[:, :1], places], 1) + state["decoder_pos_embed"]
    for i in range(decoder_depth):
        x = block(state, f"decoder_blocks.{i}", x, decoder_heads)
    return linear(state, "decoder_pred", norm(state, "decoder_norm", x))[:, 1:], mask


def multimae(state, images, masks, *, heads=16, depth=24, decoder_heads=8, decoder_depth=2):
    """Return rebuilt pictures by domain for one study; masks are 0 where a patch is visible."""
    tokens, shown = [], []
    for d, picture in images.items():
        places = state[f"input_adapters.{d}.pos_emb"].flatten(2).transpose(1, 2)
        tokens.append(patches(state, f"input_adapters.{d}.proj", picture) + places)
        shown.append(masks[d][0] == 0)
    shown = torch.cat(shown)
    x = torch.cat([torch.cat(tokens, 1)[:, shown], state["global_tokens"]], 1)
    for i in range(depth):
        x = block(state, f"encoder.{i}", x, heads)
    rebuilt, start = {}, 0
    for d, picture in images.items():
        name, count = f"output_adapters.{d}", masks[d].shape[1]
        context = linear(state, f"{name}.proj_context", x)
        every = state[f"{name}.mask_token"].expand(1, len(shown), -1).clone()
        every[:, shown] = context[:, :-1]
        places = state[f"{name}.pos_emb"].flatten(2).transpose(1, 2)
        every = every + torch.cat([places + state[f"{name}.task_embeddings.{e}"] for e in images], 1)
        asked = norm(state, f"{name}.query_norm", every[:, start : start + count])
        context = norm(state, f"{name}.context_norm", torch.cat([every[:, shown], context[:, -1:]], 1))
        q = linear(state, f"{name}.decoder.q", asked)
        k, v = linear(state, f"{name}.decoder.kv", context).chunk(2, -1)
        y = linear(state, f"{name}.decoder.proj", attention(q, k, v, decoder_heads))
        y = y + linear(
            state, f"{name}.mlp.fc2", gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.out_norm", y)))
        )
        for i in range(decoder_depth):
            y = block(state, f"{name}.decoder_transformer.{i}", y, decoder_heads)
        y = linear(state, f"{name}.out_proj", y)
        side, p = math.isqrt(count), picture.shape[-1] // math.isqrt(count)
        rebuilt[d] = y.reshape(1, side, side, 3, p, p).permute(0, 3, 1, 4, 2, 5).reshape(1, 3, side * p, side * p)
        start += count
    return rebuilt
