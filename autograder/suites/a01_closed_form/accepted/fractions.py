# Answers as exact SymPy numbers and from the inverse of the precision.

# %% solution="induction"
def induction(alpha_bar_prev, alpha):
    bar = alpha_bar_prev * alpha
    return {"signal": sp.sqrt(bar), "noise_variance": 1 - bar, "alpha_bar": bar}


# %% solution="limit"
def limit(x0, beta, t):
    return {
        "mean": (1 - beta) ** (t / sp.Integer(2)) * x0,
        "variance": sum(beta * (1 - beta) ** k for k in range(t)),
        "limit_mean": sp.Integer(0),
        "limit_variance": sp.Integer(1),
    }


# %% solution="posterior"
def posterior(alpha, alpha_bar_prev):
    precision = (1 - alpha * alpha_bar_prev) / ((1 - alpha) * (1 - alpha_bar_prev))
    return {
        "precision": precision,
        "variance": 1 / precision,
        "mean_xt": sp.sqrt(alpha) / (1 - alpha) / precision,
        "mean_x0": sp.sqrt(alpha_bar_prev) / (1 - alpha_bar_prev) / precision,
    }
