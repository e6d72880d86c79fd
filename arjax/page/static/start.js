// Opens the page: reads the arrays, and shows the model.
"use strict";

/** The page, for scripts and tests: its model, its state and its parts. */
const arjaxPage = (() => {
  const model = JSON.parse($("model").textContent), arrays = readArrays(model.arrays, $("weights").textContent);
  const random = randomNumbers(Date.now());
  $("title").textContent = model.title;
  $("about").append(...model.about.map((line) => make("li", {}, line)));
  if (model.form === "text") return new TextPage(model, new Text(model, arrays, random));
  return new PicturePage(model, model.form === "any_order" ? new AnyOrder(model, arrays, random) : new InOrder(model, arrays, random));
})();
