// Where a formula, a table or a block of code is wider than its box: fade the side where it goes on, and let the keyboard scroll it.
(() => {
  const WIDE = ".math-scroll, .bd-article pre, .pst-scrollable-table-container, .table-container, .bd-article figure, .bd-article a.image-reference, .text_html, .scrolls";
  const look = (box) => {
    // A formula in the text is as wide as its letters say; an accent may stand over the end, and is no reason to fade.
    const letters = box.matches("mjx-container") && box.querySelector("mjx-math").getBoundingClientRect().width;
    const beyond = (letters || box.scrollWidth) - box.clientWidth;
    const scrolls = beyond > 1 && getComputedStyle(box).overflowX !== "visible";
    const caption = scrolls && box.querySelector(":scope > figcaption");
    if (caption) box.style.setProperty("--drawing", `${caption.getBoundingClientRect().top - box.getBoundingClientRect().top}px`);
    box.classList.toggle("goes-on-right", scrolls && box.scrollLeft < beyond - 1);
    box.classList.toggle("goes-on-left", scrolls && box.scrollLeft > 1);
    if (scrolls && !box.hasAttribute("tabindex") && !box.matches("mjx-container, figure, a")) {
      box.tabIndex = 0;
      box.dataset.wide = "";
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", `wide ${box.tagName === "PRE" ? "code" : box.classList.contains("math-scroll") ? "formula" : "table"}, scrolls sideways`);
    } else if (!scrolls && "wide" in box.dataset) {
      for (const name of ["tabindex", "data-wide", "role", "aria-label"]) box.removeAttribute(name);
    }
  };
  // On a phone a formula in the text may be wider than the column, too; it is looked at once it is near and typeset.
  const inText = () => {
    if (!matchMedia("(max-width: 480px)").matches) return;
    const near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const formula = isIntersecting && target.querySelector("mjx-container:has(mjx-math)");
        if (!formula) continue;
        near.unobserve(target);
        look(formula);
        formula.addEventListener("scroll", () => look(formula), { passive: true });
      }
    }, { threshold: [0, 1] });
    for (const formula of document.querySelectorAll("span.math")) near.observe(formula);
  };
  // A cell of numbers is not broken on a phone, where an interval would take four lines, and one of many words gets room: its table scrolls.
  const numbers = () => {
    for (const cell of document.querySelectorAll(".scrolls td")) cell.classList.toggle("numbers", /^(?=.*\d)(?:to|\P{L})+$/su.test(cell.textContent));
    for (const cell of document.querySelectorAll(":is(.scrolls, .pst-scrollable-table-container) td")) cell.classList.toggle("words", cell.textContent.length > 24);
  };
  const start = () => {
    inText();
    numbers();
    const sizes = new ResizeObserver((entries) => {
      for (const box of new Set(entries.map((entry) => entry.target.closest("[data-watched]")))) if (box) look(box);
    });
    for (const box of document.querySelectorAll(WIDE)) {
      box.dataset.watched = "";
      box.addEventListener("scroll", () => look(box), { passive: true });
      sizes.observe(box);
      for (const child of box.children) sizes.observe(child);
      new MutationObserver(() => {
        for (const child of box.children) sizes.observe(child);
        look(box);
      }).observe(box, { childList: true, subtree: box.matches(".math-scroll") });
      look(box);
    }
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
