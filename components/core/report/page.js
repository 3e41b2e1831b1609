// Links to "#section" would leave the frame that the KFP UI shows a page in, and blank it: buttons scroll instead.
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => document.getElementById(button.value).scrollIntoView());
}
for (const nav of document.querySelectorAll("nav")) nav.hidden = false;
