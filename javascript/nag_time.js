// The panel's own script: the token counter of its negative box; the report, plot and presets renewed when what they
// show has changed somewhere else.
(function () {
    const TABS = ["txt2img", "img2img"];
    const PARTS = ["steps", "sampling", "scheduler", "cfg_scale", "denoising_strength"];
    const FOLLOWED = ["[id^=nag_time_]", ...TABS.flatMap((tab) => PARTS.map((part) => `#${tab}_${part}`))].join();
    const said = {};
    const counted = {};
    const settled = {};
    const renewed = {};

    function find(id) {
        return (typeof gradioApp === "function" ? gradioApp() : document).querySelector("#" + id);
    }

    function press(id) {
        const holder = find(id);
        if (holder) (holder.tagName === "BUTTON" ? holder : holder.querySelector("button") || holder).click();
    }

    function box(tab) {
        return find(`nag_time_${tab}_negative textarea`);
    }

    function refresh(tab) {
        press(`nag_time_${tab}_refresh`);
    }

    // -- the token counter, in the corner of the box as over the host's own prompts ---

    function setUpCounter(tab) {
        const id = `nag_time_${tab}_negative`;
        const holder = find(id);
        const counter = find(`${id}_counter`);
        if (!holder || !counter || counter.dataset.nagTime) return;
        counter.dataset.nagTime = "1";
        holder.parentElement.insertBefore(counter, holder);
        holder.parentElement.style.position = "relative";
        showCounter(tab);
    }

    function showCounter(tab) {
        const counter = find(`nag_time_${tab}_negative_counter`);
        const off = typeof opts === "object" && opts.disable_token_counters;
        if (!counter || !counter.dataset.nagTime) return;
        counter.style.display = off ? "none" : "block";
        counter.classList.toggle("token-counter-visible", !off);
    }

    // Counts anew whenever the text is another than the one counted, however it came into the box.
    function count(tab) {
        const field = box(tab);
        const counter = find(`nag_time_${tab}_negative_counter`);
        if (!field || !counter?.classList.contains("token-counter-visible")) return;
        if (field.value === (counted[tab] ?? "")) return;
        counted[tab] = field.value;
        press(`nag_time_${tab}_negative_count`);
    }

    // Gradio 3 and 4 leave a slider's number without a name for those who hear the page.
    function nameNumbers(tab) {
        for (const input of document.querySelectorAll(`[id^=nag_time_${tab}_] input[type=number]:not([aria-label])`)) {
            const title = input.closest(".block")?.querySelector("[data-testid=block-info], label span");
            if (title) input.setAttribute("aria-label", title.firstChild.textContent.trim());
        }
    }

    // -- what has changed ---

    // What the host has written under the picture; null while its progress is shown in that place.
    function log(tab) {
        const place = find(`html_log_${tab}`);
        const parts = place ? place.querySelectorAll(".performance, .comments, section") : [];
        return parts.length ? Array.from(parts, (part) => part.textContent).join("\n") : null;
    }

    function look() {
        for (const tab of TABS) {
            setUpCounter(tab);
            nameNumbers(tab);
            count(tab);
            const text = log(tab);
            if (text !== null && text !== said[tab]) {
                said[tab] = text;
                refresh(tab);
            }
        }
        renew();
    }

    // Lists of presets as old as the server's start (age 0), or older than another tab's. A page that is still being
    // set up takes no notice of a click, so it is repeated.
    function renew() {
        const ages = TABS.map((tab) => Number(find(`nag_time_${tab}_preset_age [data-nag-time-age]`)?.dataset.nagTimeAge));
        TABS.forEach((tab, i) => {
            const old = ages[i] === 0 || ages.some((age) => age > ages[i]);
            const open = find(`nag_time_${tab}_preset`)?.contains(document.activeElement);
            if (!old || open || Date.now() - (renewed[tab] ?? 0) < 1000) return;
            renewed[tab] = Date.now();
            press(`nag_time_${tab}_preset_renew`);
            setTimeout(renew, 1100);
        });
    }

    // What a page shows at first was made when the server started.
    function begin(tab) {
        if (settled[tab] !== undefined || !find(`nag_time_${tab}_refresh`)) return;
        settled[tab] = null;
        refresh(tab);
    }

    // While a slider moves, gradio 3 may get the answers of its plot in any order: ask once more when it rests.
    function settle(event) {
        const place = event.target.closest?.(FOLLOWED);
        const tab = TABS.find((name) => place?.id.includes(name));
        if (!tab || !find(`nag_time_${tab}_refresh`)) return;
        clearTimeout(settled[tab]);
        settled[tab] = setTimeout(() => (event.target === box(tab) ? count(tab) : refresh(tab)), 700);
    }

    let timer = null;
    function soon() {
        clearTimeout(timer);
        timer = setTimeout(() => {
            TABS.forEach(begin);
            look();
        }, 200);
    }

    window.nagTimeRefresh = refresh;
    new MutationObserver(soon).observe(document, {childList: true, subtree: true, characterData: true});
    document.addEventListener("input", settle, true);
    if (typeof onOptionsChanged === "function") onOptionsChanged(() => TABS.forEach(showCounter));
})();
