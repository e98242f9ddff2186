(() => {
  const lang = window.hearmeLang;
  for (const name of ["language", "languages"]) {
    const value = name === "language" ? lang : [lang];
    try { Object.defineProperty(navigator, name, { get: () => value, configurable: true }); } catch (e) { /* keeps the browser's */ }
  }
  const read = (key) => { try { return localStorage.getItem(key); } catch (e) { return null; } };
  const dark = () => (read("hearme-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const paint = () => document.body && document.body.classList.contains("dark") !== dark() && document.body.classList.toggle("dark", dark());
  const remember = (key, value) => {
    const url = new URL(location.href);
    if (value) url.searchParams.set(key, value); else url.searchParams.delete(key);
    history.replaceState(null, "", url);
  };
  window.hearme = { remember };
  const label = (node, text) => { if (node.getAttribute("aria-label") !== text) node.setAttribute("aria-label", text); };
  const mend = () => {
    paint();
    document.documentElement.lang = lang;
    // Code editors and scrolling logs of Gradio have no name and no way in by keyboard.
    document.querySelectorAll(".cm-content:not([aria-label])").forEach((n) => label(n, n.closest(".block")?.querySelector("label,span")?.textContent.trim() || "YAML"));
    document.querySelectorAll(".cm-scroller:not([tabindex])").forEach((n) => n.setAttribute("tabindex", "0"));
  };
  document.addEventListener("DOMContentLoaded", () => {
    mend();
    let waiting = 0;
    new MutationObserver(() => { if (!waiting) waiting = setTimeout(() => { waiting = 0; mend(); }, 120); })
      .observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-lang]");
    if (link) { event.preventDefault(); location.href = link.getAttribute("href") + location.search; return; }
    if (event.target.closest("[data-theme-switch]")) {
      try { localStorage.setItem("hearme-theme", dark() ? "light" : "dark"); } catch (e) { /* only for this page */ }
      paint();
    }
  });
})();
