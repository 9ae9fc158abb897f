"""The order of a block's parts."""

from maxvit.errors import MaxViTError

PARTS = {"C": "MBConv", "B": "block attention", "G": "grid attention", "P": "both attentions in parallel"}


def check_order(order: object) -> None:
    """Refuse what is not an order of a block's parts. Raises `MaxViTError`."""
    if not isinstance(order, str) or not order or set(order) - set(PARTS):
        letters = ", ".join(f"{letter} ({part})" for letter, part in PARTS.items())
        raise MaxViTError(f"order is {order!r}; it takes letters of {letters}, such as 'CBG'")


def check_orders(orders: object) -> None:
    """Refuse what are not orders of a network's blocks. Raises `MaxViTError`."""
    if isinstance(orders, tuple) and len(orders) != 4:
        raise MaxViTError(f"order is {orders!r}; it takes one for all stages, or one for each of 4 stages")
    for order in () if orders is None else orders if isinstance(orders, tuple) else (orders,):
        check_order(order)
