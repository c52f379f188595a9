// Gradio's before/after slider can only be dragged: here it gets a name, a value and the arrow keys.
(function () {
    "use strict";
    const NAMES = ["unguided", "guided"];
    const STEPS = {ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -25, PageUp: 25, Home: -100, End: 100};

    // Where the pictures lie in the frame that the handle moves in: {left, wide} in pixels of the page.
    function span(handle) {
        const image = handle.closest(".studio-compared").querySelector("img");
        const box = image.getBoundingClientRect();
        const shape = image.naturalWidth / image.naturalHeight || 1;
        const wide = Math.min(box.width, box.height * shape);
        return {left: box.left + (box.width - wide) / 2, wide};
    }

    function share(handle) {
        const {left, wide} = span(handle);
        const box = handle.getBoundingClientRect();
        return Math.round(Math.min(Math.max((100 * (box.left + box.width / 2 - left)) / wide, 0), 100));
    }

    function tell(handle) {
        const now = share(handle);
        handle.setAttribute("aria-valuenow", now);
        handle.setAttribute("aria-valuetext", `${now} % unguided, ${100 - now} % guided`);
    }

    function move(handle, percent) {
        const {left, wide} = span(handle);
        const box = handle.getBoundingClientRect();
        const at = {clientX: left + (wide * percent) / 100, clientY: box.top + box.height / 2, view: window, bubbles: true};
        handle.dispatchEvent(new MouseEvent("mousedown", at));
        document.dispatchEvent(new MouseEvent("mouseup", at));
    }

    function setUp(handle) {
        handle.dataset.told = "1";
        const attributes = {role: "slider", tabindex: 0, "aria-label": "How much of the unguided picture is shown",
            "aria-orientation": "horizontal", "aria-valuemin": 0, "aria-valuemax": 100};
        for (const [name, value] of Object.entries(attributes)) handle.setAttribute(name, value);
        handle.closest(".studio-compared").querySelectorAll("img").forEach((image, i) => { image.alt = NAMES[i]; });
        new MutationObserver(() => tell(handle)).observe(handle, {attributes: true, attributeFilter: ["style"]});
        tell(handle);
        handle.addEventListener("keydown", (event) => {
            const step = STEPS[event.key];
            if (step === undefined) return;
            event.preventDefault();
            move(handle, Math.min(Math.max(share(handle) + step, 0), 100));
        });
    }

    onAfterUiUpdate(() => document.querySelectorAll(".studio-compared [data-testid=slider]:not([data-told])").forEach(setUp));
})();
