// The search of the book. The words of each entry of search-data.js are brought to their stems, in one spelling, and ranked by BM25;
// a word that the book does not know is taken for the nearest one that it does; symbols are found by their names.
(() => {
  const STOP = new Set("a an and are as at be by do does for from how i in is it its my of on or that the this to was we what when where which why with you your two".split(" "));
  // What readers type, and the words of the book. The stems of the right side are searched as well.
  const SYNONYMS = {
    cfg: "classifier free guidance", kl: "kl divergence", elbo: "evidence lower bound", vlb: "variational bound", fid: "frechet distance",
    kid: "kernel distance", snr: "signal to noise ratio", ema: "average of weights", sde: "stochastic differential equation", ode: "probability flow",
    sqrt: "square root standard deviation", eps: "epsilon", grad: "gradient", gpu: "device", vae: "elbo", nll: "likelihood", 
    tweedie: "posterior mean", mmse: "posterior mean", autoguidance: "worse model", cheating: "hostile", install: "run machine", ddim: "implicit models", ddpm: "probabilistic models", colab: "notebook",
  };
  const PHRASES = [
    [/gradient of (the )?log/g, "score"], [/log likelihood/g, "likelihood"], [/score function/g, "score"], [/negative prompts?/g, "negative label"],
    [/^\s*install\w*\s*$/, "run it on your own machine"], [/^\s*(eta|η)\s*$/, "eta ddim ddpm"], [/sqrt\s*\(?/g, "square root of "], [/(\d)\s*-\s*(?=[a-z])/g, "$1 minus "], [/u[- ]?nets?\b/g, "unet u net"], [/x[-_ ]?0\b/g, "x0"], [/reverse sde/g, "reverse sde time"],
  ];
  const GREEK = Object.fromEntries("α alpha β beta γ gamma δ delta ε epsilon ϵ epsilon ζ zeta η eta θ theta κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho σ sigma τ tau φ phi ϕ phi χ chi ψ psi ω omega".split(" ").flatMap((w, n, all) => (n % 2 ? [] : [[w, all[n + 1]]])));

  const plain = (text) => text.toLowerCase().replace(/ᾱ/g, "alpha bar ").normalize("NFKD").replace(/[\u0300-\u036f]/g, "")
    .replace(/[α-ωϵϕ]/g, (c) => ` ${GREEK[c] || c} `).replace(/√/g, " sqrt ").replace(/[’']s?\b/g, "");
  const stem = (word) => {
    let w = word.replace(/our(s|ed|ing|less)?$/, "or$1").replace(/i[sz](e|es|ed|ing|ation|ations|er|ers)$/, "iz$1").replace(/ys(e|es|ed|ing|is)$/, "yz$1")
      .replace(/ll(ing|ed|er)$/, "l$1").replace(/^grey/, "gray").replace(/tre(s?)$/, "ter$1").replace(/metri[sz]/, "meteriz").replace(/meteriz/, "meteriz");
    if (w.length > 4) w = w.replace(/ies$/, "y").replace(/(ss|sh|ch|x)es$/, "$1").replace(/([^s])s$/, "$1");
    if (w.length > 5) w = w.replace(/(ations?|ating|ated|ates?|ing|edly|ed|ers?|ors?|ly)$/, "");
    return w.length > 3 ? w.replace(/(.)\1$/, "$1").replace(/e$/, "") : w;
  };
  const split = (text) => (plain(text).match(/[a-z0-9]+(?:[.-][a-z0-9]+)*/g) || [])
    .flatMap((w) => (w.includes("-") ? [w.replace(/-/g, ""), ...w.split("-")] : [w]));
  const stems = (text) => split(text).map(stem);
  const telling = (text) => split(text).filter((word) => !STOP.has(word)).map(stem);

  // Optimal string alignment: how many letters must be changed, added, left out or swapped; more than `most` is all the same.
  const distance = (a, b, most) => {
    if (Math.abs(a.length - b.length) > most) return most + 1;
    let before = [], last = [], row = Array.from({ length: b.length + 1 }, (_, n) => n);
    for (let i = 1; i <= a.length; i++) {
      [before, last, row] = [last, row, [i]];
      for (let j = 1; j <= b.length; j++) {
        const change = last[j - 1] + (a[i - 1] !== b[j - 1]);
        row[j] = Math.min(change, last[j] + 1, row[j - 1] + 1);
        if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
      }
      if (Math.min(...row) > most) return most + 1;
    }
    return row[b.length];
  };

  const WEIGHTS = [7, 1, 0.8]; // of the title, the words shown, the words heard
  const KINDS = { page: 1.5, section: 1.2, term: 1.25, algorithm: 1.1, symbol: 1.3, figure: 0.75, exercise: 0.7, displaymath: 0.75, api: 0.6 };
  const NAMES = { page: "page", section: "section", term: "glossary", symbol: "notation", algorithm: "algorithm", theorem: "theorem", figure: "figure", exercise: "exercise", displaymath: "equation", api: "library" };

  // Where the book explains counts for more than where it plans, lists or asks.
  const PLACES = [[/^chapters|^book\/(refresher|notation|how-to-use|glossary)/, 1], [/^book\/(appendices|results|assignments)/, 0.75], [/./, 0.6]];

  class Index {
    constructor(data) {
      this.entries = data.flatMap(([page, rows]) => rows.map(([kind, address, title, shown, heard, said]) => ({ page, kind, address, title, shown, heard, said })));
      this.postings = new Map(); // stem -> Map(entry -> weighted count)
      this.entries.forEach((entry, n) => {
        const parts = [stems(`${entry.title} ${entry.said}`), stems(entry.shown), stems(entry.heard)];
        entry.first = new Set(parts[0]);
        entry.length = parts[0].length + parts[1].length;
        parts.forEach((words, part) => {
          for (const word of words) {
            if (!this.postings.has(word)) this.postings.set(word, new Map());
            const found = this.postings.get(word);
            found.set(n, (found.get(n) || 0) + WEIGHTS[part]);
          }
        });
      });
      this.mean = this.entries.reduce((sum, entry) => sum + entry.length, 0) / this.entries.length;
    }

    // The stems to look for instead of one, each with its weight: itself, what begins with it, or the nearest that the book knows.
    nearest(word, last) {
      const found = new Map();
      if (this.postings.has(word)) found.set(word, 1);
      if (last && word.length > 2) for (const known of this.postings.keys()) if (known !== word && known.startsWith(word)) found.set(known, 0.4);
      if (found.size || word.length < 4) return found;
      const most = word.length < 7 ? 1 : 2;
      let best = [most + 1, 0, ""];
      for (const [known, where] of this.postings) {
        if (known.length < 3) continue;
        const far = distance(word, known, most);
        if (far < best[0] || (far === best[0] && far <= most && where.size > best[1])) best = [far, where.size, known];
      }
      if (best[2]) found.set(best[2], 0.8);
      return found;
    }

    terms(query) {
      let text = query.toLowerCase();
      for (const [phrase, words] of PHRASES) text = text.replace(phrase, ` ${words} `);
      let words = split(text);
      const kept = words.filter((word) => !STOP.has(word));
      words = kept.length ? kept : words;
      const terms = words.map((word, n) => this.nearest(stem(word), n === words.length - 1));
      const more = words.flatMap((word) => (SYNONYMS[word] || "").split(" ").filter(Boolean)).filter((word) => !STOP.has(word));
      return { words: words.map(stem), terms, more: more.map(stem).filter((word) => this.postings.has(word)) };
    }

    scores(found, weight, into) {
      for (const [word, share] of found) {
        const where = this.postings.get(word);
        const rare = Math.log(1 + (this.entries.length - where.size + 0.5) / (where.size + 0.5));
        for (const [n, count] of where) {
          const norm = 1.2 * (0.4 + 0.6 * (this.entries[n].length / this.mean));
          into.set(n, Math.max(into.get(n) || 0, (weight * share * rare * count * 2.2) / (count + norm)));
        }
      }
    }

    search(query, most = 30) {
      const direct = this.numbered(query);
      const { words, terms, more } = this.terms(query);
      const total = new Map(), covered = new Map();
      for (const found of terms) {
        const one = new Map();
        this.scores(found, 1, one);
        for (const [n, score] of one) {
          total.set(n, (total.get(n) || 0) + score);
          covered.set(n, (covered.get(n) || 0) + 1);
        }
      }
      for (const word of more) {
        const one = new Map();
        this.scores(new Map([[word, 1]]), 0.45, one);
        for (const [n, score] of one) total.set(n, (total.get(n) || 0) + score);
      }
      const code = /[_(]|\w\.\w/.test(query);
      let ranked = [...total].map(([n, score]) => {
        const entry = this.entries[n];
        const cover = ((covered.get(n) || 0.3) / Math.max(1, terms.length)) ** 1.5;
        const named = words.every((word) => entry.first.has(word)) ? 1.6 + 2 / (1 + entry.first.size) : 1;
        return [n, score * cover * named * (code && entry.kind === "api" ? 3 : KINDS[entry.kind] || 1) * PLACES.find(([where]) => where.test(entry.address))[1]];
      });
      ranked.sort((a, b) => b[1] - a[1]);
      if (words.length > 1) {
        for (const pair of ranked.slice(0, 60)) pair[1] *= 1 + this.together(words, this.entries[pair[0]]);
        ranked.sort((a, b) => b[1] - a[1]);
      }
      return [...direct, ...ranked.map(([n]) => this.entries[n]).filter((entry) => !direct.includes(entry))].slice(0, most);
    }

    // How much of the query stands in an entry just so: the share of its pairs of neighbours.
    together(words, entry) {
      const text = ` ${telling(`${entry.title} ${entry.shown} ${entry.heard}`).join(" ")} `;
      const title = ` ${telling(`${entry.title} ${entry.said}`).join(" ")} `;
      let pairs = 0;
      for (let n = 1; n < words.length; n++) {
        const pair = ` ${words[n - 1]} ${words[n]} `;
        pairs += title.includes(pair) ? 1.2 : text.includes(pair) ? 0.5 : 0;
      }
      return pairs / (words.length - 1);
    }

    // "eq 3.7", "figure 3.2", "(3.7)": the thing of that number. A number without its dot is read as one with it.
    numbered(query) {
      const match = /^\W*(eq|equation|fig|figure|ex|exercise|alg|algorithm)?s?\b[\s.(]*([a-z]?\d*[.]?\d+)\)?\s*$/i.exec(query.trim());
      if (!match || (!match[1] && !match[2].includes("."))) return [];
      const number = match[2].includes(".") ? match[2] : match[2].replace(/^(.)(\d+)$/, "$1.$2");
      const kind = (match[1] || "equation").toLowerCase().slice(0, 2);
      return this.entries.filter((entry) => entry.title.toUpperCase().split(" ")[1] === number.toUpperCase() && (match[1] ? entry.title.toLowerCase().startsWith(kind) : true) && /^(Equation|Figure|Exercise|Algorithm)/.test(entry.title));
    }

    // A piece of the entry around the words that were looked for, in parts: [text, is it one of them].
    snippet(entry, query) {
      const { terms, more } = this.terms(query);
      const wanted = new Set([...terms.flatMap((found) => [...found.keys()]), ...more]);
      const parts = entry.shown.split(/(\s+)/);
      const hits = parts.map((part) => stems(part).some((word) => wanted.has(word)));
      let best = 0, most = -1;
      for (let n = 0; n < parts.length; n += 4) {
        const here = hits.slice(n, n + 60).filter(Boolean).length;
        if (here > most) [best, most] = [n, here];
      }
      const piece = parts.slice(best, best + 60).map((part, n) => [part, hits[best + n]]);
      return [...(best ? [["… ", false]] : []), ...piece, ...(best + 60 < parts.length ? [[" …", false]] : [])];
    }
  }

  const element = (name, text, attributes = {}) => Object.assign(document.createElement(name), { textContent: text }, attributes);

  const show = (index, list, status, query) => {
    const found = query.trim() ? index.search(query) : [];
    list.replaceChildren(...found.map((entry) => {
      const item = document.createElement("li");
      const head = element("a", entry.title || entry.page, { href: document.documentElement.dataset.content_root + entry.address });
      item.append(head, element("span", entry.kind === "page" ? "page" : `${NAMES[entry.kind] || entry.kind} · ${entry.page}`, { className: "search-kind" }));
      const words = element("p", "");
      for (const [part, hit] of index.snippet(entry, query)) words.append(hit ? element("mark", part) : part);
      item.append(words);
      return item;
    }));
    status.textContent = !query.trim() ? "" : found.length ? `${found.length === 30 ? "The best 30 places" : found.length === 1 ? "One place" : `${found.length} places`} for “${query}”` : `Nothing for “${query}”. Try fewer words.`;
  };

  const start = () => {
    const list = document.querySelector("#search-results ol");
    if (!list || !window.searchData) return;
    const index = (window.bookSearch = new Index(window.searchData));
    const input = document.querySelector("#search-field"), status = document.querySelector("#search-status");
    input.value = new URLSearchParams(location.search).get("q") || "";
    show(index, list, status, input.value);
    input.addEventListener("input", () => {
      history.replaceState(null, "", `?q=${encodeURIComponent(input.value)}`);
      show(index, list, status, input.value);
    });
    input.form.addEventListener("submit", (event) => event.preventDefault());
    input.focus();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
