"""The views in a page of the site: what they show until the weights are there, and the
script."""
import llm_sampling as ls

def scripts(files='_static/engine'):
    "What brings the views of a page to life"
    return f'<script src="{files}/views.js" defer></script>'

def html(view, files='_static/engine'):
    "A view for a page: its style, its place with its first screen, its script"
    return (f'<link rel="stylesheet" href="{files}/views.css">'
            f'{ls.live.view(view).to_html()}{scripts(files)}')
