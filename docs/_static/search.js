// Excerpts of search results: read the article alone, not the buttons above it.
if (typeof Search !== "undefined") Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll(".headerlink, .viewcode-link, .nb-link, script, style").forEach(e => e.remove());
  const found = anchor && page.getElementById(anchor.slice(1));
  return ((found && found.parentElement) || page.querySelector("article.bd-article"))?.textContent ?? "";
};
