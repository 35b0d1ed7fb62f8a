// The live progress of a launched run, and texts that are copied.
"use strict";
for (const place of document.querySelectorAll("[data-events]")) {
  const source = new EventSource(place.dataset.events);
  source.addEventListener("progress", (event) => {
    const fresh = document.createElement("template");
    fresh.innerHTML = event.data; // rendered by the server, which escapes all texts
    for (const part of fresh.content.querySelectorAll("[data-part]")) {
      const old = place.querySelector(`[data-part="${part.dataset.part}"]`);
      if (old && old.innerHTML !== part.innerHTML) {
        const wasAtEnd = old.scrollTop + old.clientHeight >= old.scrollHeight - 4;
        old.innerHTML = part.innerHTML;
        if (wasAtEnd) old.scrollTop = old.scrollHeight;
      }
    }
    const announcement = document.getElementById("announcement"), state = place.querySelector("[data-part=state] .badge").textContent;
    if (announcement.textContent !== state) announcement.textContent = state;
  });
  source.addEventListener("over", () => {
    source.close();
    location.reload();
  });
}
const offerCopies = () => {
  for (const button of navigator.clipboard ? document.querySelectorAll("[data-copy]") : []) button.hidden = false;
};
offerCopies();
document.addEventListener("htmx:afterSettle", offerCopies);
document.addEventListener("click", async (event) => {
  const name = event.target.dataset && event.target.dataset.copy;
  if (!name) return;
  await navigator.clipboard.writeText(document.getElementById(name).textContent);
  event.target.textContent = "Copied";
});
