# Answers as exact SymPy numbers, from the inverse of the precision, and from the series written out.

# %% solution="induction"
def induction(alpha_bar_prev, extra_prev, alpha, sigma):
    bar, extra = alpha_bar_prev * alpha, sigma**2 + alpha * extra_prev
    return {"noise_variance": 1 - bar + extra, "extra": extra, "total": bar + (1 - bar + extra)}


# %% solution="limit"
def limit(x0, beta, sigma, t):
    return {
        "mean": (1 - beta) ** (t / sp.Integer(2)) * x0,
        "variance": sum((beta + sigma**2) * (1 - beta) ** k for k in range(t)),
        "limit_mean": sp.Integer(0),
        "limit_variance": (beta + sigma**2) / beta,
    }


# %% solution="posterior"
def posterior(alpha, sigma, alpha_bar_prev, extra_prev):
    after = 1 - alpha * alpha_bar_prev + alpha * extra_prev + sigma**2
    precision = after / ((1 - alpha + sigma**2) * (1 - alpha_bar_prev + extra_prev))
    return {
        "precision": precision,
        "variance": 1 / precision,
        "mean_xt": sp.sqrt(alpha) / (1 - alpha + sigma**2) / precision,
        "mean_x0": sp.sqrt(alpha_bar_prev) / (1 - alpha_bar_prev + extra_prev) / precision,
    }
