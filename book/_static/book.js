// Small repairs: the search without a server, and what the keyboard could not reach.
(function () {
  "use strict";
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;  // the search would fetch pages, which a browser forbids here
  }
  // What scrolls sideways takes a tab stop; what does not scroll takes none.
  const SCROLLS = ".table-wrapper, .highlight pre, .output pre, .formula, .printed, .correct";
  function mark() {
    for (const box of document.querySelectorAll(SCROLLS)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
  }
  // On a narrow screen the theme opens its side bars with labels, which only a pointer can press.
  function press() {
    for (const label of document.querySelectorAll("label[for=__navigation], label[for=__toc]")) {
      if (label.classList.contains("overlay")) continue;
      label.tabIndex = 0;
      label.setAttribute("role", "button");
      label.setAttribute("aria-label", document.getElementById(label.htmlFor).getAttribute("aria-label"));
      label.addEventListener("keydown", event => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        label.click();
      });
    }
  }
  addEventListener("DOMContentLoaded", press);
  addEventListener("load", mark);
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, true);
})();
