from .config import MaxViTConfig as MaxViTConfig
from .config import Preprocessing as Preprocessing
from .create import create_model as create_model
from .create import list_models as list_models
from .create import load_model as load_model
from .errors import MaxViTError as MaxViTError
from .inference.batch import predict_to_file as predict_to_file
from .inference.evaluate import Evaluation as Evaluation
from .inference.evaluate import evaluate as evaluate
from .inference.explain import AttentionMap as AttentionMap
from .inference.explain import attention_maps as attention_maps
from .inference.predictor import Prediction as Prediction
from .inference.predictor import Predictor as Predictor
from .inference.predictor import preprocess as preprocess
from .inference.summary import Summary as Summary
from .inference.summary import summarize as summarize
from .kernels.accelerate import accelerate as accelerate
from .kernels.optimize import optimize as optimize
from .layers.multiaxis import BlockAttention as BlockAttention
from .layers.multiaxis import GridAttention as GridAttention
from .layers.multiaxis import MaxSA as MaxSA
from .model import MaxViT as MaxViT

__version__: str
