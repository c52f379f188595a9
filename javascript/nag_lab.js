// The tab Lab asks for a look: once when it is first seen, then every two seconds while a plan runs.
(function () {
    let asked = false;

    function find(id) {
        return (typeof gradioApp === "function" ? gradioApp() : document).querySelector("#" + id);
    }

    function look() {
        const button = find("nag_lab_look");
        const place = find("nag_lab_progress");
        const seen = Boolean(find("nag_lab_plan")?.offsetParent);
        if (!button || !place || !seen) return;
        if (asked && !place.querySelector("[data-nag-lab-running]")) return;
        asked = true;
        button.click();
    }

    setInterval(look, 2000);
})();
