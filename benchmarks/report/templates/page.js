"use strict";
(() => {
  const root = document.documentElement;
  const button = document.querySelector(".theme");
  const wanted = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : wanted.matches);
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  wanted.addEventListener("change", name);
  name();

  for (const panel of document.querySelectorAll(".compare")) {
    const stage = panel.querySelector(".stage");
    const slide = panel.querySelector(".slide");
    const [under, over] = stage.querySelectorAll("img");
    const thumbs = [...panel.querySelectorAll(".thumbs img")];
    const move = () => stage.style.setProperty("--at", `${slide.value}%`);
    const [left, right] = panel.querySelectorAll("select");
    const show = () => {
      over.src = thumbs[left.selectedIndex].src;
      over.alt = left.value;
      under.src = thumbs[right.selectedIndex].src;
      under.alt = right.value;
      slide.setAttribute("aria-valuetext", `${left.value} left, ${right.value} right`);
    };
    slide.addEventListener("input", move);
    for (const choice of [left, right]) choice.addEventListener("change", show);
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      slide.value = (100 * (event.clientX - box.left)) / box.width;
      move();
    };
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
    stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
    panel.querySelector(".left-side").hidden = false;
    show();
    move();
  }
})();
