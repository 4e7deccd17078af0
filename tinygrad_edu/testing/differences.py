"""Where this framework differs from PyTorch on purpose: the one list, read by the compatibility page and by tests."""

from __future__ import annotations

# What holds for many functions at once.
EVERYWHERE = [
    "Numbers are booleans, integers of 8 to 64 bits (uint8 alone without sign), bfloat16, and floats of 16, 32 and 64 "
    "bits. There are no complex, quantised or sparse tensors.",
    "`out=`, `layout=`, `memory_format=`, `pin_memory=` and names of dimensions are not arguments of functions. Losses "
    "do not take the old `size_average` and `reduce`, so the arguments that follow these are given by name.",
    "Error classes are PyTorch's or subclasses of them; messages are our own and say what was received.",
    "An in-place change that is recorded puts earlier views of the same memory out of date: using one raises "
    "RuntimeError, where PyTorch computes its history anew. Take the view again after the change.",
    "Running backward twice through a freed graph raises RuntimeError in our own words.",
    "A uint8 tensor is no mask: indexing with it is refused. Compare it, for example with `!= 0`.",
    "A Python number that an integer dtype cannot hold raises OverflowError, where PyTorch wraps it around or raises "
    "RuntimeError.",
    "Some functions take booleans where PyTorch has no kernel for them: argmax, argmin, median, trace, isin, "
    "searchsorted.",
    "A number divided by a tensor is rounded once. PyTorch multiplies with the reciprocal, which may differ in the "
    "last bit. Sums add in another order than PyTorch's.",
    "The same seeds give the same random numbers on every platform, but not PyTorch's.",
    "`empty` and its relatives hold zeros.",
    "Tensors and modules are not pickled. `save` and `load` use safetensors; a pickle file is refused, never executed.",
    "Options that choose among PyTorch's implementations are accepted and change nothing: `foreach`, `fused`, "
    "`capturable` and `differentiable` of optimizers, `num_workers` and `pin_memory` of DataLoader.",
    "Methods of Tensor are the functions of the same name with the tensor as `input`; in-place ones end in `_`.",
]

# What differs in one name, by its place below tinygrad_edu.
OF = {
    "cross": "of booleans and another dtype RuntimeError, in PyTorch NotImplementedError",
    "device": "not a context manager; `set_default_device` takes the CPU alone",
    "einsum": "of booleans and another dtype RuntimeError, in PyTorch NotImplementedError",
    "FloatTensor": "a function, not a type: isinstance() needs Tensor and dtype",
    "any": "an empty tuple of dims reduces all",
    "all": "an empty tuple of dims reduces all",
    "autograd.backward": "no `grad_variables`, PyTorch's old name of grad_tensors",
    "autograd.grad": "no `is_grads_batched`",
    "utils.checkpoint.checkpoint": (
        "always what use_reentrant=False is; no `context_fn`, `determinism_check`, `debug` and `early_stop`"
    ),
    "clamp": "not of booleans",
    "compile": "gives the function back as it is",
    "cuda.graph": "captures a function; PyTorch's is a context manager with a `CUDAGraph`",
    "cuda.manual_seed": "nothing without a GPU; all GPUs draw from one stream",
    "cuda.manual_seed_all": "nothing without a GPU",
    "ldexp": "takes booleans as exponents; at negative integer exponents the gradient is 2^other, PyTorch's is 0",
    "linalg.matrix_norm": "not the orders that need singular values (2, -2, 'nuc')",
    "linalg.norm": "not the orders that need singular values (2, -2, 'nuc')",
    "linalg.matrix_power": "no negative powers",
    "matrix_power": "no negative powers",
    "logit": "outside [0, 1] the gradient is that of the formula, PyTorch's is NaN",
    "nn.ParameterDict": "keeps the order in which entries were made",
    "nn.CTCLoss": "the gradient is that of the formula; PyTorch's presumes that log_probs come from log_softmax",
    "nn.EmbeddingBag": "no sparse gradients; scale_grad_by_freq takes each row's own frequency, PyTorch's not always",
    "nn.functional.ctc_loss": (
        "the gradient is that of the formula; PyTorch's presumes that log_probs come from log_softmax"
    ),
    "nn.functional.embedding_bag": (
        "no sparse gradients; scale_grad_by_freq takes each row's own frequency, PyTorch's not always"
    ),
    "nn.functional.hardsigmoid": "in float64 the slope is 1/6, PyTorch's is the 1/6 of float32",
    "nn.functional.soft_margin_loss": "large losses do not overflow, as PyTorch's do",
    "nn.RNNCell": "an unknown nonlinearity is refused when the cell is made, ValueError as of RNN",
    "nn.utils.rnn.unpad_sequence": "leaves its input as it is; PyTorch transposes it in place",
    "nn.functional.hardtanh": "OverflowError where the limits do not fit uint8",
    "nn.functional.l1_loss": "mixes booleans with floats; numbers as targets raise TypeError",
    "nn.functional.mse_loss": "numbers as targets raise TypeError",
    "nn.TransformerEncoder": "padded positions keep numbers; PyTorch's shortcut for evaluation sets them to zero",
    "optim.lr_scheduler.OneCycleLR": "the schedule starts when it is made, as PyTorch's; its state holds plain numbers",
    "pow": "not of two booleans",
    "set_default_device": "the CPU alone",
    "special.logit": "outside [0, 1] the gradient is that of the formula, PyTorch's is NaN",
    "set_num_threads": "sets the threads of NumPy's matrix products, the only ones there are",
    "utils.data.DataLoader": "loads in the calling process whatever `num_workers` says",
    "utils.data.get_worker_info": "always None",
}

# Where the arguments are not a part of PyTorch's in PyTorch's order with its defaults, and why.
_LOSS = "the old size_average and reduce, which stand in between, are not offered"
_STACKLEVEL = "PyTorch's private _stacklevel stands in between"
SIGNATURES = {
    **dict.fromkeys(
        ("nn.BCELoss", "nn.BCEWithLogitsLoss", "nn.CosineEmbeddingLoss", "nn.CrossEntropyLoss", "nn.HingeEmbeddingLoss",
         "nn.KLDivLoss", "nn.L1Loss", "nn.MarginRankingLoss", "nn.MSELoss", "nn.MultiLabelMarginLoss",
         "nn.MultiLabelSoftMarginLoss", "nn.MultiMarginLoss", "nn.NLLLoss", "nn.PoissonNLLLoss", "nn.SmoothL1Loss",
         "nn.SoftMarginLoss", "nn.TripletMarginLoss", "nn.functional.binary_cross_entropy",
         "nn.functional.binary_cross_entropy_with_logits", "nn.functional.cosine_embedding_loss",
         "nn.functional.cross_entropy", "nn.functional.hinge_embedding_loss", "nn.functional.kl_div",
         "nn.functional.l1_loss", "nn.functional.margin_ranking_loss", "nn.functional.mse_loss",
         "nn.functional.multi_margin_loss", "nn.functional.multilabel_margin_loss",
         "nn.functional.multilabel_soft_margin_loss", "nn.functional.nll_loss", "nn.functional.poisson_nll_loss",
         "nn.functional.smooth_l1_loss", "nn.functional.soft_margin_loss", "nn.functional.triplet_margin_loss"), _LOSS
    ),
    "nn.functional.log_softmax": _STACKLEVEL,
    "nn.functional.softmax": _STACKLEVEL,
    "nn.functional.softmin": _STACKLEVEL,
    **dict.fromkeys(("flip", "permute", "reshape", "tile"), "numbers may also be given one by one, as to the method"),
    "bernoulli": "PyTorch's documentation leaves the default, None, out",
    "einsum": "PyTorch hides the first argument in *args",
    "repeat_interleave": "one function for PyTorch's two signatures",
    "scatter": "one function for PyTorch's three signatures",
    "softmax": "one function with nn.functional.softmax, which warns where dim is left out",
    "squeeze": "one function for PyTorch's two signatures", "trapz": "None means 1 in PyTorch too",
    "autograd.backward": "the old grad_variables is not offered",
    "autograd.grad": "is_grads_batched is not offered",
    "autograd.enable_grad": "takes a function to decorate, as PyTorch's decorator does through __new__",
    "autograd.no_grad": "takes a function to decorate, as PyTorch's decorator does through __new__",
    "enable_grad": "takes a function to decorate, as PyTorch's decorator does through __new__",
    "no_grad": "takes a function to decorate, as PyTorch's decorator does through __new__",
    "cumulative_trapezoid": "None means 1 in PyTorch too", "trapezoid": "None means 1 in PyTorch too",
    "load": "None means True in PyTorch too",
    "meshgrid": "None means 'ij' in PyTorch too, with a warning",
    "nn.Embedding": "sparse gradients are not offered",
    "searchsorted": "input may be given by that name, as PyTorch's other signature has it",
    "as_tensor": "dtype and device may be given by position, as in PyTorch against its documentation",
    "asarray": "one function with as_tensor",
    "broadcast_to": "PyTorch documents `shape` and takes `size`",
    "dtype": "not made by users",
    "Size": "a tuple, in PyTorch too",
    "randperm": "None means int64", "tril_indices": "None means the CPU", "triu_indices": "None means the CPU",
    "std": "unbiased is the argument of PyTorch's older signature", "std_mean": "see std", "var": "see std",
    "var_mean": "see std",
    "utils.checkpoint.checkpoint": "use_reentrant changes nothing; preserve_rng_state is one of PyTorch's **kwargs",
    "utils.checkpoint.checkpoint_sequential": "see checkpoint",
    "utils.data.random_split": "None means the default generator",

    "nn.Transformer": "relu is a function of each library", "nn.TransformerDecoderLayer": "see Transformer",
    "nn.TransformerEncoderLayer": "see Transformer",
}  # fmt: skip

# Functions whose result dtype or error class differs for some dtypes, as EVERYWHERE and OF say.
DTYPES = {
    "argmax", "argmin", "median", "nanmedian", "trace", "isin", "searchsorted", "nn.functional.hardtanh", "pow",
    "clamp", "einsum", "ldexp", "cross", "nn.functional.l1_loss", "nn.functional.mse_loss",
}  # fmt: skip
