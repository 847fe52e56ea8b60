"use strict";
(() => {
  const dialog = document.querySelector("dialog");
  const [before, after] = dialog.querySelectorAll("img");
  const range = dialog.querySelector("input");
  const caption = dialog.querySelector("p");
  const move = () => {
    after.style.clipPath = `inset(0 0 0 ${range.value}%)`;
    dialog.style.setProperty("--at", `${range.value}%`);
  };
  const open = (button) => {
    const article = button.closest("article");
    before.src = article.querySelector("button").dataset.full;
    after.src = button.dataset.full;
    before.alt = "source";
    after.alt = button.dataset.label;
    caption.textContent = `${article.querySelector("h3").textContent}: source on the left, ${button.dataset.label} on the right`;
    range.value = 50;
    move();
    dialog.showModal();
  };
  for (const button of document.querySelectorAll("button[data-full]")) {
    button.addEventListener("click", () => open(button));
  }
  range.addEventListener("input", move);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
})();
