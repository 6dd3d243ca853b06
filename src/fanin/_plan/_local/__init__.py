"""What this process holds of a model, before anything is drawn.

`_shards` reads it from a DTensor and checks it, `_flat` from FSDP1's flat parameters, `_view` lists
a model's tensors under the plan's names, `_allocate` makes memory for those on meta, and `_rebuild`
the values of buffers that have none there. `_modes` keeps the caller's modes of torch out.
"""
