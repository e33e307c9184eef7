"""Film the playground of the built site for README.md

    python tools/animate.py     # _docs/index.html -> docs/images/playground.webp

The second likeliest token is forced, and the text goes on from it, token by token.
The last picture alone, playground.png, is for readers who asked for less motion."""
import argparse, io, sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tests'))
VIEW = 'document.querySelector("[data-llms=playground]").view'
SIZE = dict(width=820, height=1000)
PAUSE, END = 260, 2600      # milliseconds of a picture, and of the last

def film(page):
    "Yield what the playground shows, step by step, and how long"
    box = page.locator('[data-llms=playground]')
    bottom = page.locator('.llms-token-row:visible').last
    def shot():
        top, end = box.bounding_box(), bottom.bounding_box()
        clip = dict(x=top['x'], y=top['y'], width=top['width'],
                    height=end['y'] + end['height'] + 12 - top['y'])
        return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert('RGB')
    def wait(n):
        page.wait_for_function(f'{VIEW}.entries.length === {n} && !{VIEW}.stale')
        page.wait_for_timeout(200)
    step = page.get_by_role('button', name='Step', exact=True)
    yield shot(), 1400
    page.locator('.llms-token-row').nth(1).click()
    wait(1)
    yield shot(), 1200
    for n in range(2, 22):
        step.click()
        wait(n)
        yield shot(), PAUSE
    yield shot(), END

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--page', type=Path, default=ROOT/'_docs/index.html')
    ap.add_argument('--out', type=Path, default=ROOT/'docs/images/playground.webp')
    a = ap.parse_args()
    from browser import browser
    with browser(viewport=SIZE) as (context, _):
        page = context.new_page()
        page.goto(a.page.resolve().as_uri())
        page.evaluate('scrollTo(0, 0)')
        frames, times = zip(*film(page))
    size = frames[0].width, max(f.height for f in frames)
    frames = [whole(f, size) for f in frames]
    frames[0].save(a.out, save_all=True, append_images=frames[1:], duration=times,
                   loop=0, quality=70, method=6, minimize_size=True)
    frames[-1].quantize(64).save(a.out.with_suffix('.png'), optimize=True)
    print(f'{a.out}: {len(frames)} pictures of {size[0]} x {size[1]}, '
          f'{a.out.stat().st_size / 1000:.0f} kB')

def whole(picture, size):
    "The picture on a ground of this size"
    ground = Image.new('RGB', size, picture.getpixel((3, picture.height - 3)))
    ground.paste(picture)
    return ground

if __name__ == '__main__': main()
