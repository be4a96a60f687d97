"""Networks: every one is called as net(x, t, cond) and is built from the small blocks beside it."""
