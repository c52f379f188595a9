// The handles of the panel's plot: start, end and ramp of the window, dragged or moved by the arrow keys. They only set
// the sliders; what they mean is the server's business, which draws the plot anew.
(function () {
    let held = null; // {tab, kind, edge} under the pointer; the plot may be drawn anew meanwhile
    let asked = 0; // counts the values that were set
    let last = null; // {tab, kind} moved by key, to find it again in the new plot

    function find({tab, kind}) {
        return document.querySelector(`#nag_time_${tab}_plot [data-nag-time-handle=${kind}]`);
    }

    function parts(handle) {
        const frame = handle.closest(".nag-time-frame");
        const edges = frame.dataset.nagTimeEdges.split(" ").map(Number);
        const at = (kind) => Number(frame.querySelector(`[data-nag-time-handle=${kind}]`).getAttribute("aria-valuenow"));
        const tab = /nag_time_(\w+)_plot/.exec(handle.closest("[id$=_plot]").id)[1];
        return {frame, edges, at, tab, kind: handle.dataset.nagTimeHandle, left: Number(frame.dataset.nagTimeLeft)};
    }

    // At least one step stays between start and end; the ramp is within them.
    function allowed({kind, at, edges}, edge) {
        const low = kind === "start" ? 0 : kind === "end" ? at("start") + 1 : at("start");
        const high = kind === "end" ? edges.length - 1 : kind === "start" ? at("end") - 1 : at("end");
        return Math.min(Math.max(edge, low), high);
    }

    function show(handle, edge) {
        const {left, edges} = parts(handle);
        const total = edges.length - 1;
        const told = edge < total ? `before step ${edge + 1}` : `after step ${total}`;
        handle.style.left = `${100 * (left + (edge / total) * (1 - left))}%`;
        handle.setAttribute("aria-valuenow", edge);
        handle.setAttribute("aria-valuetext", told);
        handle.title = `${handle.getAttribute("aria-label")}: ${told}`;
    }

    function input(tab, name) {
        return document.querySelector(`#nag_time_${tab}_${name} input[type=number]`);
    }

    // A closed accordion of gradio 6 has no sliders yet.
    async function control(tab, name) {
        if (!input(tab, name)) document.querySelector(`#nag_time_${tab}_advanced .label-wrap`)?.click();
        for (let tries = 0; tries < 200 && !input(tab, name); tries++) {
            await new Promise((done) => setTimeout(done, 50));
        }
        return input(tab, name);
    }

    async function set(handle) {
        const {edges, at, tab, kind} = parts(handle);
        const ramp = at("ramp_steps") - at("start") + 1;
        const value = kind === "ramp_steps" ? (ramp > 1 ? ramp : 0) : edges[at(kind)];
        const field = await control(tab, kind);
        if (!field || Number(field.value) === value) return;
        // A slider that has only just been made may not listen yet: again, until the plot has been drawn anew.
        const mine = ++asked;
        for (let tries = 0; tries < 25 && handle.isConnected && asked === mine && !held; tries++) {
            field.value = value;
            for (const type of ["input", "change", "blur"]) field.dispatchEvent(new Event(type, {bubbles: type !== "blur"}));
            await new Promise((done) => setTimeout(done, 400));
        }
    }

    document.addEventListener("pointerdown", (event) => {
        const handle = event.target.closest?.(".nag-time-handle");
        if (!handle) return;
        const {tab, kind, at} = parts(handle);
        held = {tab, kind, edge: at(kind)};
        handle.setPointerCapture?.(event.pointerId);
        event.preventDefault();
        handle.focus();
    });

    document.addEventListener("pointermove", (event) => {
        const handle = held && find(held);
        if (!handle) return;
        const here = parts(handle);
        const box = here.frame.getBoundingClientRect();
        const share = ((event.clientX - box.left) / box.width - here.left) / (1 - here.left);
        held.edge = allowed(here, Math.round(share * (here.edges.length - 1)));
        show(handle, held.edge);
    });

    for (const type of ["pointerup", "pointercancel"]) {
        document.addEventListener(type, () => {
            const [handle, edge] = held ? [find(held), held.edge] : [];
            held = null;
            if (!handle) return;
            show(handle, edge);
            set(handle);
        });
    }

    document.addEventListener("keydown", (event) => {
        const handle = event.target.closest?.(".nag-time-handle");
        if (!handle) return;
        const here = parts(handle);
        const total = here.edges.length - 1;
        const to = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -total, End: total}[event.key];
        if (to === undefined) return;
        event.preventDefault();
        show(handle, allowed(here, here.at(here.kind) + to));
        last = {tab: here.tab, kind: here.kind};
        set(handle);
    });

    // The plot that comes back has new handles: the one in use keeps the keyboard.
    new MutationObserver(() => {
        if (!last || document.activeElement !== document.body) return;
        find(last)?.focus({preventScroll: true});
    }).observe(document, {childList: true, subtree: true});
    document.addEventListener("focusin", (event) => {
        if (!event.target.closest?.(".nag-time-handle")) last = null;
    });
})();
