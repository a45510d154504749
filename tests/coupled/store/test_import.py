import subprocess
import sys


def test_the_storage_layer_loads_no_torch():
    code = "import sys, coupled.store; sys.exit(any(m.split('.')[0] in ('torch', 'torchvision') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
