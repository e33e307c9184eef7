"""Kernels that start at once: copies of one process that has imported already what most
notebooks import, which takes eight seconds of a core for each of them otherwise.

`client` is nbclient's, with such a kernel. This file is also the program that Jupyter
starts in its place: it asks for a copy, passes signals on, and ends when that ends."""
import atexit, gc, json, os, select, signal, socket, subprocess, sys, tempfile
from functools import cache
from pathlib import Path

ADDRESS = 'LLM_SAMPLING_KERNELS'      # names the socket of the process that is copied
# sharp at any size for the page, pixels for README; the same bytes at every run
FIGURES = [f'--InlineBackend.{trait}={value}' for trait, value in {
    'figure_formats': {'png', 'svg'},
    'print_figure_kwargs': {'bbox_inches': 'tight', 'metadata': {'Date': None}},
    'rc': {'svg.fonttype': 'none', 'svg.hashsalt': 'llms',
           'font.sans-serif': ['DejaVu Sans', 'Verdana'],
           'font.monospace': ['DejaVu Sans Mono', 'Menlo', 'Consolas']}}.items()]


def serve(door):
    "Import, then copy this process for each who asks, until standard input is closed"
    # no pyplot, no widgets, no pandas: they look for a kernel when they are imported
    os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'
    import fastcore.test, psygnal, scipy.stats                          # noqa: F401
    import ipykernel.debugger, ipykernel.kernelapp
    import IPython.core.pylabtools, IPython.extensions.storemagic       # noqa: F401
    import tornado.platform.asyncio, tornado.queues                     # noqa: F401
    import matplotlib.backends.backend_svg, matplotlib.figure           # noqa: F401
    import PIL.Image
    import torch.testing                                                # noqa: F401
    from transformers import GPT2LMHeadModel                            # noqa: F401
    import llm_sampling as ls
    ls.generate(ls.load(), 'A', max_new_tokens=1)       # and what it needs
    PIL.Image.preinit()
    # a figure is drawn when it is shown, and not once more before
    matplotlib.backend_bases.FigureCanvasBase.draw_idle = lambda *a, **kw: None
    gc.collect()
    gc.freeze()        # what is here already is not searched again for garbage
    copies = {}
    while True:
        heard = select.select([door, sys.stdin, *copies], [], [], .02)[0]
        left = copies if sys.stdin in heard else {*heard} & {*copies}
        for asker in left: os.kill(copies[asker], signal.SIGKILL)
        bury(copies)
        if sys.stdin in heard: return
        if door in heard:
            asker = door.accept()[0]
            how = json.loads(asker.makefile().readline())
            if not (pid := os.fork()): return become_kernel(how, ipykernel.kernelapp)
            asker.sendall(f'{pid}\n'.encode())
            copies[asker] = pid


def bury(copies):
    "Tell those who asked how their copies ended"
    for asker, pid in [*copies.items()]:
        dead, status = os.waitpid(pid, os.WNOHANG)
        if not dead: continue
        del copies[asker]
        try: asker.sendall(f'{os.waitstatus_to_exitcode(status)}\n'.encode())
        except OSError: pass
        asker.close()


def become_kernel(how, app):
    "What `python -m ipykernel_launcher` does, without the imports"
    os.chdir(how['cwd'])
    os.environ.clear()
    os.environ.update(how['environment'])
    sys.argv = ['ipykernel_launcher', *how['arguments']]
    sys.path.insert(0, '')
    with open(os.devnull) as nothing: os.dup2(nothing.fileno(), 0)
    app.launch_new_instance()
    os._exit(0)


def stand_in(arguments):
    "Ask for a copy and wait for its end"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.environ[ADDRESS])
        how = dict(cwd=os.getcwd(), environment=dict(os.environ), arguments=arguments)
        s.sendall(json.dumps(how).encode() + b'\n')
        answers = s.makefile()
        pid = int(answers.readline())
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda number, frame: os.kill(pid, number))
        return int(answers.readline() or 1)


@cache
def start():
    "Start the process, once for this one and those it starts; who asks early waits"
    if ADDRESS in os.environ: return
    folder = tempfile.TemporaryDirectory()
    os.environ[ADDRESS] = str(Path(folder.name)/'socket')
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.environ[ADDRESS])
        door.listen()
        fd = door.fileno()
        process = subprocess.Popen([sys.executable, __file__, 'serve', str(fd)],
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   pass_fds=[fd])
    atexit.register(folder.cleanup)
    atexit.register(process.stdin.close)


def asking_client():
    "The class of Jupyter's client, but ready as soon as a kernel answers"
    from queue import Empty
    from jupyter_client import AsyncKernelClient

    class Asking(AsyncKernelClient):
        async def wait_for_ready(self, timeout=60):
            # Jupyter's listens for .2 s more; who reads by the number of a request, as
            # nbclient does, need not
            for _ in range(timeout):
                asked, answered = self.kernel_info(), None
                try:
                    await self.shell_channel.get_msg(timeout=1)
                    while answered != asked:
                        told = await self.iopub_channel.get_msg(timeout=.2)
                        answered = told['parent_header'].get('msg_id')
                    return
                except Empty: pass       # the second channel was not yet open
            raise RuntimeError(f'no kernel answered within {timeout} s')

    return Asking


def client(nb, **kw):
    "nbclient's `NotebookClient` whose kernel is a copy"
    from nbclient import NotebookClient
    start()
    client = NotebookClient(nb, shutdown_kernel='immediate', **kw)
    manager = client.create_kernel_manager()
    manager.kernel_spec.argv = [
        sys.executable, '-IS', __file__, '-f', '{connection_file}',
        '--log-level=ERROR', '--HistoryManager.enabled=False', *FIGURES]
    manager.client_factory = asking_client()
    client.owns_km = True
    return client


if __name__ == '__main__':
    if sys.argv[1] == 'serve': serve(socket.socket(fileno=int(sys.argv[2])))
    else: sys.exit(stand_in(sys.argv[1:]))
