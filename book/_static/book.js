// What scrolls sideways can be reached by keyboard; what does not scroll takes no tab stop.
(function () {
  "use strict";
  if (location.protocol === "file:" && window.DOCUMENTATION_OPTIONS) {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;  // the search would fetch pages, which a browser forbids here
  }
  const SCROLLS = ".table-wrapper, .highlight pre, .output pre, .formula, .printed, .correct";
  function mark() {
    for (const box of document.querySelectorAll(SCROLLS)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
  }
  addEventListener("load", mark);
  addEventListener("resize", mark);
  document.addEventListener("toggle", mark, true);
})();
