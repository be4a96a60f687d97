// Open the reason of an answer when it is chosen. Without this script each reason opens by its own summary.
document.documentElement.classList.add("has-script");
document.addEventListener("change", (event) => {
  const input = event.target.closest(".quiz-answer input");
  if (!input) return;
  for (const answer of input.closest(".quiz-question").querySelectorAll(".quiz-answer")) {
    const chosen = answer.querySelector("input").checked;
    answer.classList.toggle("chosen", chosen);
    answer.querySelector("details").open = chosen;
  }
});
