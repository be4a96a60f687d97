// Paper is light: a page that is read on a dark ground is printed as on a light one.
(() => {
  const page = document.documentElement.dataset;
  let shown = "";
  addEventListener("beforeprint", () => ([shown, page.theme] = [page.theme, "light"]));
  addEventListener("afterprint", () => (page.theme = shown));
})();
