"""Fused twins of ops, registered with `dispatch.register_twin`; the ops in `ops/` are their meaning."""
