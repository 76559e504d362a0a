"""The pages: server-rendered, for people with a session. A page is one function, one query in policy or metering, one template.

    visitor.py    who looks: the cookie -> a `Visitor` with its account, role and rights; `visitor_of(request, right)` or away to /login
    page.py       `page(template, visitor, **values)` -> the response, with the security headers; `go(path, done=...)` after a POST
    form.py       `posted(request, right, Form)` -> (visitor, form): origin and token checked, size bounded, unknown fields refused
    words.py      filters of the templates: amounts, times in the visitor's zone, counts; notices.py: what a page says after a deed
    charts.py     SVG; assets.py: the files under /static, named with their hash
    errors.py     a refusal as a page: the same statuses and words as the API
    routes.py     all handlers; one file per page: overview keys usage generations logs billing privacy models routing playground members
                  settings; sign_in and its kin; public; operator_*

How a page is written, `keys.py` and `templates/keys.html` are the model:
- GET never changes anything; every deed is a POST that ends in `go(...)` (303) or shows the page again with `problem=` (the error names the
  field); a page works without JavaScript, `static/app.js` only adds comfort;
- a form is a msgspec Struct of strings; templates write `{{ m.form_start(visitor, action) }}`, which puts the token in;
- nothing from a request is a path, a colour, a script or unescaped text; no inline style or script (the CSP refuses them);
- another account's id is a 404, a missing right a 403 that says who may; both are pages.
"""
