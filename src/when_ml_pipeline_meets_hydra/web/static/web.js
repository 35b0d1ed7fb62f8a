// What htmx does not do by itself: buttons that wait, and texts that are copied.
"use strict";
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented) return; // htmx sends it, and the page stays
  // A second press does not send a form twice.
  for (const button of event.target.querySelectorAll("button[type=submit]")) {
    setTimeout(() => { button.setAttribute("aria-busy", "true"); button.disabled = true; }, 0);
  }
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button[aria-busy]")) {
    button.removeAttribute("aria-busy");
    button.disabled = false;
  }
});
// The answer to a wrong form is a part of the page as well.
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([403, 422, 429].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
