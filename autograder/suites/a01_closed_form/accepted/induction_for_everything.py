# Later tasks through the induction: the limit step by step, the posterior by completing the square, the jump by all its steps.

# %% solution="limit"
def limit(x0, beta, sigma, t):
    bar, extra = 1, 0
    for _ in range(int(t)):
        lines = induction(bar, extra, 1 - beta, sigma)
        bar, extra = (1 - beta) * bar, lines["extra"]
    a = sp.Symbol("a")
    fixed = sp.solve(sp.Eq(a, (1 - beta) * a + sigma**2), a)[0]
    return {"mean": sp.sqrt(bar) * x0, "variance": 1 - bar + extra, "limit_mean": 0.0, "limit_variance": 1 + fixed}


# %% solution="posterior"
def posterior(alpha, sigma, alpha_bar_prev, extra_prev):
    now = induction(alpha_bar_prev, extra_prev, alpha, sigma)["noise_variance"]
    before = 1 - alpha_bar_prev + extra_prev
    gain = sp.sqrt(alpha) * before / now  # the regression of x_{t-1} on x_t
    variance = before - gain**2 * now
    return {
        "variance": variance,
        "precision": 1 / variance,
        "mean_xt": gain,
        "mean_x0": sp.sqrt(alpha_bar_prev) - gain * sp.sqrt(alpha * alpha_bar_prev),
    }


# %% solution="q_sample"
def q_sample(x_s, s, t, alpha_bar, extra, noise):
    result = x_s.clone()
    for i in range(len(x_s)):
        factor, variance = 1.0, 0.0
        for u in range(int(s[i]) + 1, int(t[i]) + 1):
            alpha = float(alpha_bar[u] / alpha_bar[u - 1])
            added = float(1 - alpha + extra[u] - alpha * extra[u - 1])  # 1 - alpha_u + sigma_u^2
            factor, variance = alpha**0.5 * factor, alpha * variance + added
        result[i] *= factor
        result[i] += variance**0.5 * noise[i]
    return result
