// Renews the numbers every five seconds; another champion or another round renews the whole page. Without scripts, reload it.
"use strict";
const { address: own } = document.body.dataset;
if (own) history.replaceState(null, "", own); // a refused button led here: reloading shall press nothing
setInterval(async () => {
  if (document.hidden) return;
  try {
    const address = new URL(location.href);
    address.searchParams.delete("message");
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const text = (await answer.text()).replace(/<style[^]*?<\/style>/, ""); // its nonce is another
    const page = new DOMParser().parseFromString(text, "text/html");
    if (page.body.dataset.state !== document.body.dataset.state) return location.replace(address);
    const token = page.querySelector("input[name=token]"); // a button brings it, and it works for hours only
    for (const field of document.querySelectorAll("input[name=token]")) field.value = token ? token.value : field.value;
    for (const place of document.querySelectorAll("[data-live]")) {
      const now = page.getElementById(place.id);
      if (now && now.innerHTML !== place.innerHTML) place.replaceChildren(...now.childNodes);
    }
  } catch { /* the server is away; the numbers stay as they are */ }
}, 5000);
