// Show the reason of an answer when it is chosen. Without this script a style rule shows all reasons at once.
document.documentElement.classList.add("has-script");
document.addEventListener("change", (event) => {
  const input = event.target.closest(".quiz-answer input");
  if (!input) return;
  for (const answer of input.closest(".quiz-question").querySelectorAll(".quiz-answer")) {
    answer.classList.toggle("chosen", answer.querySelector("input").checked);
  }
});
